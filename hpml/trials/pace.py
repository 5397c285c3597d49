"""The pace of a loop over batches: when each was asked for, and when it was given."""

import itertools
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

from lightning.fabric.utilities.data import sized_len

from hpml.errors import UserError
from hpml.timing.epoch_times import NS_PER_S

FEWEST_STEPS = 2
SLOW_S = 0.2  # of a step that takes longer every one more is a cost
# Where no end of an epoch is known, the time of so many steps is given.
STEPS_SHOWN = 1000


@dataclass(frozen=True)
class Pace:
    """Mean seconds of a loop's steps."""

    step_s: float  # from a batch's fetch to the next one's, without what an epoch's start costs
    wait_s: float  # the part of it until the batch was there
    start_s: float | None  # what an epoch's first batch makes it wait longer; None where none began
    first_s: float | None = None  # what the very first batch was waited for, its workers' start too

    @property
    def waiting_share(self) -> float:
        """The part of a step until its batch was there."""
        return min(1.0, self.wait_s / self.step_s) if self.step_s else 0.0


@dataclass(frozen=True)
class JointPace(Pace):
    """Of several ranks in step with one another: that of the one which the others wait for."""

    own_s: Sequence[float] = ()  # a step of each rank by itself, where nothing is exchanged in it
    waits_s: Sequence[float] = ()  # and what each waits for its batch


def joint(paces: Sequence[Pace], own_s: Sequence[Sequence[float]]) -> Pace:
    """The pace of ranks that measured at the same time, each step by step where they met.

    Ranks that meet before each step take as long as the one which comes last.
    """
    if len(paces) == 1:
        return paces[0]
    starts, firsts = (
        [value for value in values if value is not None]
        for values in zip(*((pace.start_s, pace.first_s) for pace in paces), strict=True)
    )
    met = all(own_s)
    return JointPace(
        step_s=fmean(map(max, *own_s)) if met else max(pace.step_s for pace in paces),
        wait_s=max(pace.wait_s for pace in paces),
        start_s=max(starts, default=None),
        first_s=max(firsts, default=None),
        own_s=[fmean(steps) for steps in own_s] if met else [],
        waits_s=[pace.wait_s for pace in paces],
    )


@dataclass(frozen=True)
class Timed:
    """What an epoch takes, by a short fit or by the loader alone."""

    epoch_s: float
    pace: Pace
    checks_s: float = 0.0  # the part of it that is validation
    once_s: float = 0.0  # and that comes once in it besides, as far as it was timed
    saved_s: float = 0.0  # the part of that which is checkpoints
    left_out: str = ""  # why that was not timed, though it was to be


@dataclass(frozen=True)
class Pilot:
    """The pace of a job's first steps, by which the length of its trials is chosen."""

    fit: Pace  # of the job as it is
    loading: Pace | None  # of its loader alone; None where no workers load ahead
    ahead: int  # batches that the loader's workers keep ready

    @property
    def step_s(self) -> float:
        """Seconds of the slower one: a fit's first steps do not show what its loading takes."""
        return max(self.fit.step_s, self.loading.step_s if self.loading else 0.0)

    @property
    def waits(self) -> bool:
        """Whether a fit waits for its workers in the end.

        A step twice as long as loading finds its batch ready from the beginning.
        """
        if self.loading is None or not self.ahead:
            return False
        return self.loading.step_s > (self.fit.step_s - self.fit.wait_s) / 2

    def warm_up(self, least: int) -> int:
        """Steps before those that are measured, past the batches that are ready at first."""
        return least + self.ahead if self.waits else least


@dataclass(frozen=True)
class Pauses:
    """What is done between measured steps, or at their ends, while the clock stands."""

    after: Container[int]  # so many of them
    wait: Callable[[], None]


@dataclass(eq=False, repr=False)
class PacedLoader:
    """Gives a loader's batches for a number of steps, through as many epochs as that takes.

    The steps after the warm-up are measured, up to the fetch of the last one.
    """

    loader: Any  # any iterable of batches
    warm_up: int  # steps before those that are measured
    measured: int  # steps
    epoch_steps: int | None = None  # after so many an epoch ends; None where only the loader knows
    instead: Sequence[Any] | None = None  # batches to give again and again, and not the loaded ones
    # makes those that are given of these: again once all are given, while the clock stands
    renew: Callable[[], Sequence[Any]] | None = None
    # makes what is given of a batch that is loaded, while the clock stands
    copy: Callable[[Any], Any] | None = None
    loads: bool = True  # whether the loader is asked for batches all the same
    # waits for the device, at both ends of what is measured
    synchronize: Callable[[], None] = lambda: None
    pauses: Pauses | None = None
    # looks at the workers once all is measured, while they are there
    look: Callable[[], None] = lambda: None
    # waits for the other ranks before each step, where nothing else holds them together
    meet: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._is_sized = self.epoch_steps is not None or sized_len(self.loader) is not None
        self._asked_ns: list[int] = []
        self._given_ns: list[int] = []
        self._begins: list[bool] = []  # an epoch
        self._met_ns: list[int] = []  # what was waited for the other ranks before each step
        self.stood_ns = 0  # in this epoch of a Trainer's

    @property
    def steps(self) -> int:
        """Number of all steps; the last one only ends the one before it."""
        return self.warm_up + self.measured + 1

    @property
    def fetched(self) -> int:
        return len(self._given_ns)

    @property
    def is_over(self) -> bool:
        return self.fetched == self.steps

    def __len__(self) -> int:
        if not self._is_sized:
            raise TypeError("the loader has no length")
        return self.steps

    def __getattr__(self, name: str) -> Any:
        """Attribute of the loader, whichever a module asks for."""
        if name == "loader":  # not there yet while it is being copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        self._asked_ns, self._given_ns, self._begins, self._met_ns = [], [], [], []
        self.stood_ns, loaded, ready = 0, self._loaded(), list[Any]()
        for step in range(self.steps):
            if step in (self.warm_up, self.steps - 1):
                self.synchronize()
            if self.pauses is not None and step - self.warm_up in self.pauses.after:
                self.synchronize()
                self._untimed(self.pauses.wait)
            if self.renew is not None and not ready:
                self.synchronize()  # else the device would go on while the clock stands
                ready = list(reversed(self._untimed(self.renew)))
            self._wait_for_others()
            self._asked_ns.append(self._now_ns())
            begins, batch = next(loaded)
            if self.renew is not None:
                batch = ready.pop()
            elif self.instead is not None:
                batch = self.instead[step % len(self.instead)]
            self._given_ns.append(self._now_ns())
            self._begins.append(begins)
            if self.copy is not None:
                batch = self._untimed(partial(self.copy, batch))
            if self.is_over:
                self._untimed(self.look)
            yield batch

    def _now_ns(self) -> int:
        return time.perf_counter_ns() - self.stood_ns

    def _wait_for_others(self) -> None:
        begun_ns = self._now_ns()
        if self.meet is not None:
            self.meet()
        self._met_ns.append(self._now_ns() - begun_ns)

    def _untimed(self, make: Callable[[], Any]) -> Any:
        begun_ns = time.perf_counter_ns()
        made = make()
        self.stood_ns += time.perf_counter_ns() - begun_ns
        return made

    def _loaded(self) -> Iterator[tuple[bool, Any]]:
        while not self.loads:
            yield False, None
        while True:
            begins = True
            for batch in itertools.islice(iter(self.loader), self.epoch_steps):
                yield begins, batch
                begins = False
            if begins:
                raise UserError("the training loader gives no batch, or none when it begins again")

    @property
    def pace(self) -> Pace:
        """Means of the measured steps. Raises ValueError where the loop ended before."""
        if not self.is_over:
            raise ValueError(f"only {self.fetched} of {self.steps} steps")
        waits = self._waits_ns
        whole = self._asked_ns[-1] - self._asked_ns[self.warm_up]
        starts = [ns for step, ns in waits.items() if self._begins[step]]
        usual = self._usual_wait_ns
        start_s = max(0.0, fmean(starts) - usual) / NS_PER_S if starts else None
        step = (whole - sum(starts) + len(starts) * usual) / len(waits)
        first_s = (self._given_ns[0] - self._asked_ns[0]) / NS_PER_S
        return Pace(step / NS_PER_S, usual / NS_PER_S, start_s, first_s)

    @property
    def span_s(self) -> float:
        """From the first fetch to the last one, without what is done while the clock stands."""
        return (self._asked_ns[-1] - self._asked_ns[0]) / NS_PER_S

    @property
    def own_s(self) -> list[float]:
        """Seconds of each measured step, without what it waited for other ranks; where they met."""
        if self.meet is None:
            return []
        usual = self._usual_wait_ns
        return [
            (
                self._asked_ns[step + 1]
                - self._asked_ns[step]
                - self._met_ns[step + 1]
                - (wait - usual) * self._begins[step]
            )
            / NS_PER_S
            for step, wait in self._waits_ns.items()
        ]

    @property
    def _waits_ns(self) -> dict[int, int]:
        """What each measured step has waited for its batch."""
        measured = range(self.warm_up, self.steps - 1)
        return {step: self._given_ns[step] - self._asked_ns[step] for step in measured}

    @property
    def _usual_wait_ns(self) -> float:
        """The mean of them, without those at an epoch's start."""
        waits = self._waits_ns
        others = [ns for step, ns in waits.items() if not self._begins[step]]
        return fmean(others or waits.values())


def loading_pace(loader: PacedLoader, left: int = 0) -> Pace:
    """The loader alone: nothing is done with its batches.

    Where no epoch begins among the measured steps, a start is measured apart. Workers have `left`
    batches ready that this new epoch waits for, and that a whole epoch would have taken: their time
    is taken off.
    """
    for _ in loader:
        pass
    pace = loader.pace
    if pace.start_s is not None:
        return pace
    begun_ns = time.perf_counter_ns()
    batches = iter(loader.loader)  # whose workers end after the clock is read
    next(batches)
    took_s = (time.perf_counter_ns() - begun_ns) / NS_PER_S
    return replace(pace, start_s=max(0.0, took_s - pace.wait_s - left * pace.step_s))
