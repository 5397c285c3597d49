"""The device's own clock: events in its queue, read when it has passed them.

A GPU works through a queue while the host runs ahead, so the host's clock tells when work was
handed over, not when it was done. An event is recorded where the host goes from one phase to the
next; the time between two events is the device's.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hpml.records.phases import PHASES

KINDS = tuple(phase.device_kind for phase in PHASES if phase.device_kind)


@dataclass
class DeviceClock:
    """Time of a device by what it did.

    | kind | what |
    | --- | --- |
    | `busy` | from the first to the last operation of a batch, with the gaps inside |
    | `wait_data` | its queue was empty because the next batch was not there |
    | `copy` | a batch came to the device |
    | `idle` | its queue was empty for another reason: hooks, loggers, checkpoints |

    Validation belongs to none of them. With `sync` it waits for the device at every mark, so that
    the host's clock agrees with this one: an audit, which slows training.
    """

    new_event: Callable[[], Any]  # that can be timed, with the methods of `torch.cuda.Event`
    stream: Callable[[], Any]  # whose queue counts
    sync: bool = False

    def __post_init__(self) -> None:
        self._pool: list[Any] = []  # events to use again
        self._marks: deque[tuple[str | None, Any]] = deque()
        self._last: Any = None
        self._ns: defaultdict[str, float] = defaultdict(float)

    def mark(self, kind: str | None) -> None:
        """What the device does between the last mark and this one is of this kind, if of any."""
        event = self._pool.pop() if self._pool else self.new_event()
        event.record(self.stream())
        if self.sync:
            event.synchronize()
        self._marks.append((kind, event))
        self._resolve()

    def times(self) -> dict[str, float]:
        """Nanoseconds by kind since the last `take`, as far as the device has come."""
        self._resolve()
        return {kind: self._ns[kind] for kind in KINDS}

    def take(self) -> dict[str, float]:
        """As `times`, but waits until the device has passed all marks, and begins again."""
        if self._marks:
            self._marks[-1][1].synchronize()
        taken = self.times()
        self._ns.clear()
        return taken

    def _resolve(self) -> None:
        marks = self._marks
        while marks and marks[0][1].query():
            kind, event = marks.popleft()
            if self._last is not None:
                if kind is not None:
                    # to half a microsecond; one of another stream may lie before the last one
                    self._ns[kind] += max(0.0, self._last.elapsed_time(event) * 1e6)
                self._pool.append(self._last)
            self._last = event


def device_clock(device: torch.device) -> DeviceClock | None:
    """The clock of a CUDA device; None for any other.

    The CPU has no queue: the host's clock times it too. Apple's GPUs have one, which is not timed.
    """
    if device.type != "cuda":
        return None
    return DeviceClock(
        lambda: torch.cuda.Event(enable_timing=True), lambda: torch.cuda.current_stream(device)
    )
