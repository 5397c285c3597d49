"""Rounds of two sides: a fresh process each, whose short fits take turns.

Both processes of a round are there at once, and one of them works at a time. Their fits are cut
into slices of a step or a few, which follow one another as before, after, after, before: cores grow
faster and slower by a tenth and more within a second, and what lasts longer than a slice slows
both. They differ among themselves too, and a process stays on its own: both sides begin the slices
of a turn on the same one. What sticks out for a whole fit is left out by the median of the pairs.
What a process draws for itself, where its memory lies say, stays the same through its fits: the
round is the unit of the interval.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from hpml.compare.question import TIMED, Metric, Question
from hpml.compare.turn_length import TURN_S, Facts, lengths, whole
from hpml.compare.verdict import in_percent, is_answered, ratio_of
from hpml.formatting import counted
from hpml.statistics import AnytimeEstimate, anytime_estimate
from hpml.system.interference import Interference, summed

BEFORE, AFTER = "before", "after"
SIDES = (BEFORE, AFTER)
PAIRS = 4  # of turns in a round
PILOTS = (2, 8)  # steps of the turns by which a step's time is found, about
LOOK_S = 0.2  # at each side in turn, until both are ready
# A phase that takes less than this part of a step is compared as if it took as much.
LEAST_PHASE = 0.01


@dataclass(frozen=True)
class Turn:
    """One short fit: seconds of a step, of an epoch, of a sample, and more, by metric."""

    figures: Mapping[str, float]
    interference: Interference | None = None

    @property
    def disturbed(self) -> bool:
        return self.interference is not None and self.interference.disturbed

    def of(self, metric: str, step_s: float) -> float | None:
        """Its figure; a phase is at least LEAST_PHASE of a step. None where it is not known."""
        value = self.figures.get(metric)
        if value is not None and metric in PHASE_NAMES:
            return max(value, LEAST_PHASE * step_s)
        return value


PHASE_NAMES = frozenset(phase.name for phase in TIMED)


@dataclass
class Round:
    """What one round has measured: pairs of turns, and what each process tells of itself."""

    pairs: list[dict[str, Turn]] = field(default_factory=list)
    processes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def clean(self) -> list[dict[str, Turn]]:
        """The pairs in which nothing disturbed either."""
        return [pair for pair in self.pairs if not any(turn.disturbed for turn in pair.values())]

    @property
    def disturbed(self) -> bool:
        """Whether too few pairs are left to tell anything by."""
        return 2 * len(self.clean) < PAIRS

    @property
    def interference(self) -> Interference | None:
        """All that others took from its turns."""
        turns = (turn.interference for pair in self.pairs for turn in pair.values())
        return summed(each for each in turns if each is not None)

    def logarithm(self, metric: Metric) -> float | None:
        """Of after over before: the median of the clean pairs. None where it is not known."""
        if metric.of_process:
            values = [self.processes[side].get(metric.name) for side in SIDES]
            return _logarithm(*values)
        pairs = [_pair(pair, metric.name) for pair in self.clean]
        logarithms = [log for pair in pairs if (log := _logarithm(*pair)) is not None]
        return statistics.median(logarithms) if logarithms else None

    def share(self, phase: str) -> float | None:
        """By how much a phase has grown, as a part of a step before."""
        shares = []
        for pair in self.clean:
            first, last = (pair[side].figures for side in SIDES)
            if first.get("step"):
                shares.append((last.get(phase, 0.0) - first.get(phase, 0.0)) / first["step"])
        return statistics.median(shares) if shares else None

    def figure(self, side: str, metric: Metric) -> float | None:
        if metric.of_process:
            return self.processes[side].get(metric.name)
        values = [pair[side].figures.get(metric.name) for pair in self.clean or self.pairs]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None


def _pair(pair: Mapping[str, Turn], metric: str) -> list[float | None]:
    step_s = pair[BEFORE].figures.get("step", 0.0)
    return [pair[side].of(metric, step_s) for side in SIDES]


def _logarithm(first: float | None, last: float | None) -> float | None:
    if first is None or last is None or first <= 0 or last <= 0:
        return None
    return math.log(last / first)


@dataclass
class Rounds:
    """All rounds so far, and what they say."""

    questions: Sequence[Question]
    every: list[Round] = field(default_factory=list)

    @property
    def counting(self) -> list[Round]:
        return [each for each in self.every if not each.disturbed]

    @property
    def disturbed(self) -> list[Round]:
        return [each for each in self.every if each.disturbed]

    def ratio(self, metric: Metric) -> AnytimeEstimate | None:
        """The logarithm of after over before, as one of the questions that are asked."""
        logarithms = (each.logarithm(metric) for each in self.counting)
        return ratio_of([log for log in logarithms if log is not None], len(self.questions))

    def share(self, phase: str) -> AnytimeEstimate | None:
        """By how much a phase has grown, in steps; each phase has an interval of its own."""
        shares = (each.share(phase) for each in self.counting)
        return anytime_estimate([share for share in shares if share is not None])

    @property
    def verdicts(self) -> list[str]:
        return [each.verdict(self.ratio(each.metric)) for each in self.questions]


class Measuring(Protocol):
    """A process that measures one side."""

    def is_ready(self, wait_s: float) -> bool:
        """Whether `first` has its answer, if need be after so many seconds."""

    def first(self) -> dict[str, Any]:
        """Waits until it is ready: its start-up, its first losses, what a slice has to be."""

    def fit(self, slices: int, steps: int, seed: int, core: int) -> Generator[None, None, Turn]:
        """A short fit of so many steps, in slices alike, from the state that all begin from.

        It yields once it is warm, and after each slice; `core` is the place of the core that these
        begin on among those that may be used, counted round and round.
        """

    def last(self) -> dict[str, Any]:
        """What it tells once all is measured: its peak memory."""


Start = Callable[[], AbstractContextManager[Measuring]]


def run_round(
    start: Mapping[str, Start],
    number: int,
    steps: int | None,
    at_once: bool = True,
    is_late: Callable[[], bool] = lambda: False,
) -> Round:
    """One round, in an order of its own; `at_once` starts both processes before either is ready.

    Without `steps` as many as take about TURN_S. Half of the pairs are enough once it `is_late`.
    Raises what a process raises.
    """
    order = list(SIDES)
    random.Random(number).shuffle(order)
    round_ = Round()
    with ExitStack() as stack:
        processes = {}
        for side in order:
            processes[side] = stack.enter_context(start[side]())
            if not at_once:
                processes[side].first()
        waiting = list(SIDES)
        while waiting:  # for both at once: one that fails need not wait for the other
            waiting = [side for side in waiting if not processes[side].is_ready(LOOK_S)]
        for side in SIDES:
            round_.processes[side] = processes[side].first()
        facts = round_.processes
        slices, own = lengths(facts, _step_s(processes, order, facts), steps)
        for turn in range(2 * PAIRS):
            if len(round_.clean) >= PAIRS or (turn >= PAIRS and not round_.clean):
                break
            if turn >= PAIRS / 2 and is_late():
                break
            turns = order if turn % 2 == 0 else order[::-1]
            fits = {side: processes[side].fit(slices, own[side], number, turn) for side in turns}
            round_.pairs.append(_in_turns(fits, slices))
        for side in SIDES:
            round_.processes[side] |= processes[side].last() | {"steps": own[side]}
    return round_


def _in_turns(fits: Mapping[str, Generator[None, None, Turn]], slices: int) -> dict[str, Turn]:
    """Each warms up alone; then they go to and fro."""
    for fit in fits.values():
        next(fit)
    sides = list(fits)
    for number in range(slices):
        for side in sides if number % 2 == 0 else reversed(sides):
            next(fits[side])
    return {side: _last(fit) for side, fit in fits.items()}


def _last(fit: Generator[None, None, Turn]) -> Turn:
    try:
        next(fit)
    except StopIteration as ended:
        turn: Turn = ended.value
        return turn
    raise AssertionError("a fit has more slices than were asked for")


def _step_s(processes: Mapping[str, Measuring], order: Sequence[str], facts: Facts) -> float:
    """Seconds of a step of the slower side, by a turn of a few of them, of more if they are short.

    What the first steps took, while both started, tells nothing: two sides of as many threads as
    there are cores hold each other up, and a step takes forty times as long.
    """
    step_s = 0.0
    for about in PILOTS:
        own = whole(facts, about)
        slices = min(about, *own.values())
        if max(own.values()) * step_s < TURN_S / 2:
            fits = {side: processes[side].fit(slices, own[side], 0, 0) for side in order}
            pilot = _in_turns(fits, slices)
            step_s = max(1e-4, *(turn.figures["step"] for turn in pilot.values()))
    return step_s


def run_rounds(
    rounds: Rounds,
    measure: Callable[[int], Round],
    budget_s: float,
    report: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Adds rounds until the questions are answered, or another one would go beyond the budget."""
    begun_s = clock()
    longest_s = 0.0
    while not is_answered(rounds.verdicts):
        round_begun_s = clock()
        if rounds.every and round_begun_s - begun_s + longest_s > budget_s:
            return
        rounds.every.append(measure(len(rounds.every)))
        longest_s = max(longest_s, clock() - round_begun_s)
        report(_line(rounds))


def _line(rounds: Rounds) -> str:
    metric = rounds.questions[0].metric
    last = rounds.every[-1]
    state = in_percent(rounds.ratio(metric))
    if last.disturbed and (seen := last.interference) is not None:
        state = f"disturbed, to be repeated: {seen.in_words('it')}"
    return f"round {len(rounds.every)}: {metric.title} {state}" + (
        f"; {counted(len(rounds.disturbed), 'disturbed round')} so far" if rounds.disturbed else ""
    )
