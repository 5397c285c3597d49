"""The device's own clock: events in its queue, read when it has passed them.

A GPU works through a queue while the host runs ahead, so the host's clock tells when work was
handed over, not when it was done. An event is recorded where the host goes from one phase to the
next; the time between two events is the device's.
"""

from collections import defaultdict, deque
from typing import Any, Protocol

import torch

KINDS = ("busy", "wait_data", "copy", "idle")


class EventBackend(Protocol):
    """What the clock needs of a device; CudaEvents, or a fake one in tests."""

    def record(self) -> Any:
        """An event at the end of the device's queue."""

    def has_passed(self, event: Any) -> bool:
        """Whether the device has reached it; does not wait."""

    def wait_for(self, event: Any) -> None:
        """Waits until the device has reached it."""

    def elapsed_ns(self, first: Any, second: Any) -> float:
        """Nanoseconds between two events that have passed."""

    def release(self, event: Any) -> None:
        """The event is not needed any more."""


class CudaEvents:
    """Events of a CUDA device's current stream, used again once they are released."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: list[torch.cuda.Event] = []

    def record(self) -> torch.cuda.Event:
        """An event at the end of the current stream."""
        event = self._pool.pop() if self._pool else torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def has_passed(self, event: torch.cuda.Event) -> bool:
        """Whether the device has reached it; does not wait."""
        return bool(event.query())

    def wait_for(self, event: torch.cuda.Event) -> None:
        """Waits until the device has reached it."""
        event.synchronize()

    def elapsed_ns(self, first: torch.cuda.Event, second: torch.cuda.Event) -> float:
        """Nanoseconds between two events, to about half a microsecond."""
        return float(first.elapsed_time(second)) * 1e6

    def release(self, event: torch.cuda.Event) -> None:
        """Takes it back into the pool."""
        self._pool.append(event)


class DeviceClock:
    """Time of a device by what it did.

    | kind | what |
    | --- | --- |
    | `busy` | from the first to the last operation of a batch, with the gaps inside |
    | `wait_data` | its queue was empty because the next batch was not there |
    | `copy` | a batch came to the device |
    | `idle` | its queue was empty for another reason: hooks, loggers, checkpoints |

    Validation belongs to none of them.

    Args:
        events: of the device.
        sync: waits for the device at every mark, so that the host's clock agrees with this one:
            an audit, which slows training.
    """

    def __init__(self, events: EventBackend, sync: bool = False) -> None:
        self.sync = sync
        self._events = events
        self._marks: deque[tuple[str | None, Any]] = deque()
        self._last: Any = None
        self._ns: defaultdict[str, float] = defaultdict(float)

    def mark(self, kind: str | None) -> None:
        """What the device does between the last mark and this one is of this kind.

        None for nothing that counts.
        """
        event = self._events.record()
        if self.sync:
            self._events.wait_for(event)
        self._marks.append((kind, event))
        self._resolve()

    def times(self) -> dict[str, float]:
        """Nanoseconds by kind since the last `take`, as far as the device has come."""
        self._resolve()
        return {kind: self._ns[kind] for kind in KINDS}

    def take(self) -> dict[str, float]:
        """As `times`, but waits until the device has passed all marks, and begins again."""
        if self._marks:
            self._events.wait_for(self._marks[-1][1])
        taken = self.times()
        self._ns.clear()
        return taken

    def _resolve(self) -> None:
        marks = self._marks
        while marks and self._events.has_passed(marks[0][1]):
            kind, event = marks.popleft()
            if self._last is not None:
                if kind is not None:
                    # an event of another stream than the last one's may lie before it
                    self._ns[kind] += max(0.0, self._events.elapsed_ns(self._last, event))
                self._events.release(self._last)
            self._last = event


def device_clock(device: torch.device) -> DeviceClock | None:
    """The clock of a CUDA device; None for any other.

    On the CPU the host's clock tells it all; Apple's GPUs run ahead too, and are not told of.
    """
    return DeviceClock(CudaEvents(device)) if device.type == "cuda" else None
