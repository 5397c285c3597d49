"""Where a fit's time went, moment by moment, for a viewer of Chrome traces.

The format: "Trace Event Format" (Chromium's documentation), whose complete events Perfetto opens.
By its `src/trace_processor/importers/json` it cuts `ts` and `dur` off to nanoseconds, leaves out an
event that ends after the one it lies in, and has uses of its own for process 0 and thread 0.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from hpml.records.phases import PHASES

STEPS_AN_EPOCH = 100
MOST_STRETCHES = 100_000  # some 25 MB in the file
_VALIDATION = "validation"
_TITLES = {phase.name: phase.title for phase in PHASES}


class Stretch(NamedTuple):
    """Time without a break in one phase and part (`train/forward`)."""

    key: str
    begun_ns: int
    ended_ns: int

    @property
    def phase(self) -> str:
        return self.key.partition("/")[0]

    @property
    def part(self) -> str:
        return self.key.partition("/")[2]


@dataclass
class _Epoch:
    number: int
    begun_ns: int
    ended_ns: int = 0
    stretches: list[Stretch] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)  # when each began and ended
    more_steps: int = 0  # that are not traced one by one
    more_ended_ns: int = 0


class Trace:
    """Collects what a FitClock tells while a fit runs.

    Of each epoch the first `steps_an_epoch` steps are kept, with all that is outside of the loop's
    steps, and all validation. No epoch begins after `most_stretches` stretches.
    """

    def __init__(
        self, steps_an_epoch: int = STEPS_AN_EPOCH, most_stretches: int = MOST_STRETCHES
    ) -> None:
        self.steps_an_epoch = steps_an_epoch
        self.epochs: list[_Epoch] = []
        self.left_out = 0  # epochs after the last that was traced
        self._room = most_stretches
        self._open: _Epoch | None = None
        self._skips = False  # whether the loop is past its traced steps

    def begin_epoch(self, number: int, now_ns: int) -> None:
        self._open, self._skips = _Epoch(number, now_ns), False

    def add(self, key: str, begun_ns: int, ended_ns: int) -> None:
        """A stretch of time, which follows the last one."""
        epoch = self._open
        if epoch is None or self._room <= 0:
            return
        if self._skips and key.partition("/")[0] != _VALIDATION:
            ended_ns = min(ended_ns, epoch.steps[-1][1])  # of the last traced step there may be one
        if begun_ns >= ended_ns:
            return
        last = epoch.stretches[-1] if epoch.stretches else None
        if last is not None and last.key == key and last.ended_ns == begun_ns:
            epoch.stretches[-1] = Stretch(key, last.begun_ns, ended_ns)
        else:
            epoch.stretches.append(Stretch(key, begun_ns, ended_ns))

    def add_step(self, begun_ns: int, ended_ns: int) -> None:
        """A step has ended."""
        epoch = self._open
        if epoch is None:
            return
        if self._skips:
            epoch.more_steps, epoch.more_ended_ns = epoch.more_steps + 1, ended_ns
            return
        epoch.steps.append((begun_ns, ended_ns))
        self._skips = len(epoch.steps) == self.steps_an_epoch

    def end_loop(self) -> None:
        """What follows belongs to no step."""
        self._skips = False

    def end_epoch(self, now_ns: int, counts: bool) -> None:
        """The open epoch ends; `counts` tells whether the record has it."""
        epoch, self._open = self._open, None
        if epoch is None or not counts:
            return
        if self._room <= 0:
            self.left_out += 1
            return
        self._room -= len(epoch.stretches)
        epoch.ended_ns = now_ns
        self.epochs.append(epoch)

    @property
    def in_words(self) -> str:
        """What of the fit is in it: `the first 100 steps of each epoch`."""
        shortened = any(epoch.more_steps for epoch in self.epochs)
        what = f"the first {self.steps_an_epoch} steps" if shortened else "all steps"
        if self.left_out:
            return f"{what} of the first {len(self.epochs)} epochs"
        return f"{what} of each epoch"

    def as_dict(self, begun_ns: int, rank: int = 0) -> dict[str, Any]:
        """The file's content, in microseconds since `begun_ns`; a rank is a process of it."""
        names = {"process_name": f"rank {rank}", "thread_name": "training loop"}
        where = {"pid": rank + 1, "tid": 1}
        head = [{"ph": "M", "name": k, **where, "args": {"name": v}} for k, v in names.items()]
        events = [
            {
                **{"ph": "X", "name": name, "cat": kind, **where},
                **{"ts": _in_us(start_ns - begun_ns), "dur": _in_us(end_ns - start_ns)},
            }
            for kind, name, start_ns, end_ns in self._events(begun_ns)
        ]
        about = {"traced": self.in_words, "clock": "the host's"}
        return {"traceEvents": [*head, *events], "displayTimeUnit": "ms", "otherData": about}

    def _events(self, begun_ns: int) -> Iterator[tuple[str, str, int, int]]:
        """Kind, name, beginning and end of each; one that holds another comes before it."""
        if self.epochs and begun_ns < self.epochs[0].begun_ns:
            yield "startup", "start-up", begun_ns, self.epochs[0].begun_ns
        for epoch in self.epochs:
            yield "epoch", f"epoch {epoch.number}", epoch.begun_ns, epoch.ended_ns
            for number, (start_ns, end_ns) in enumerate(epoch.steps):
                yield "step", f"step {number}", start_ns, end_ns
            if epoch.more_steps:
                count = len(epoch.steps)
                name = f"steps {count} to {count + epoch.more_steps - 1}: not traced"
                yield "step", name, epoch.steps[-1][1], epoch.more_ended_ns
            yield from _of_stretches(epoch)


def _in_us(ns: int) -> float:
    """Microseconds that are as many nanoseconds when cut off, as 1.001 is not (1000.9…)."""
    us = ns / 1000
    return us if int(us * 1000) == ns else math.nextafter(us, math.inf)


def _of_stretches(epoch: _Epoch) -> Iterator[tuple[str, str, int, int]]:
    """The phases, and in each of them its parts."""
    borders = sorted({ns for step in epoch.steps for ns in step})
    pieces = list(_cut(epoch.stretches, borders))
    at = set(borders)
    run = 0

    def place(index: int) -> tuple[int, str]:
        """Alike for what follows one another in one phase of one step."""
        nonlocal run
        piece, before = pieces[index], pieces[index - 1] if index else None
        if before is None or before.ended_ns != piece.begun_ns or piece.begun_ns in at:
            run += 1
        return run, piece.phase

    for (_, phase), indices in groupby(range(len(pieces)), place):
        of_phase = [pieces[index] for index in indices]
        yield phase, _TITLES.get(phase, phase), of_phase[0].begun_ns, of_phase[-1].ended_ns
        for piece in of_phase:
            if piece.part:
                yield piece.phase, piece.part, piece.begun_ns, piece.ended_ns


def _cut(stretches: Sequence[Stretch], borders: Sequence[int]) -> Iterator[Stretch]:
    """The same time, so that no stretch goes beyond the border of a step."""
    places = iter([*borders, float("inf")])
    border = next(places)
    for key, begun_ns, ended_ns in stretches:
        while border <= begun_ns:
            border = next(places)
        while border < ended_ns:
            yield Stretch(key, begun_ns, int(border))
            begun_ns, border = int(border), next(places)
        yield Stretch(key, begun_ns, ended_ns)
