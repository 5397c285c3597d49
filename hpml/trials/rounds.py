"""The engine of short fits: named candidates, measured in rounds until a rule is satisfied.

A candidate is a function that measures once. It may fit in this process (`Subject.candidates`) or
in a fresh one; nothing here knows. A round has each candidate once before any again: a machine that
grows busy slows all of them alike, and what one saves is the difference within a round. What others
took from a measurement is judged beside it: disturbed rounds are measured again, and left out where
there are enough others.
"""

import math
import time
from collections.abc import Callable, Collection, Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from hpml.errors import place, reason
from hpml.formatting import counted
from hpml.statistics import (
    AnytimeEstimate,
    BySeed,
    Estimate,
    anytime_estimate,
    may_be_best,
    trimmed_estimate,
)
from hpml.system.interference import Interference, summed
from hpml.trials.interference_watch import Watch, unwatched

Name = TypeVar("Name", bound=Hashable)
M = TypeVar("M")
# Measures once, in the round of this number.
Candidate = Callable[[int], M]
# A figure of a measurement, in seconds: the less, the better.
Quantity = Callable[[M], float]
Report = Callable[[Name, int, M], object]
# With so many undisturbed rounds a candidate needs no others.
ENOUGH_ROUNDS = 3
# And that an interval that holds whenever one looks can be given of so many.
FEWEST_ROUNDS = 4
# Rounds are no more than so many times those that were asked for, however many are disturbed.
MOST_TIMES = 3
# A gain below this part of an epoch is none, however exact the measurement.
LEAST_GAIN = 0.02


@dataclass(eq=False)
class Measurements(Generic[Name, M]):
    """What was measured of some candidates."""

    # of each candidate, in the order in which they were first tried, by round
    by_name: dict[Name, dict[int, M]] = field(default_factory=dict)
    failures: dict[Name, str] = field(default_factory=dict)  # why a candidate was dropped
    # what others took from each measurement, by round, as far as it is known
    seen: dict[int, dict[Name, Interference]] = field(default_factory=dict)

    def add(
        self, name: Name, number: int, measurement: M, seen: Interference | None = None
    ) -> None:
        self.by_name.setdefault(name, {})[number] = measurement
        if seen is not None:
            self.seen.setdefault(number, {})[name] = seen

    def drop(self, name: Name) -> None:
        """Forgets a candidate."""
        for kept in (self.by_name, *self.seen.values()):
            kept.pop(name, None)  # type: ignore[attr-defined]

    @property
    def next_round(self) -> int:
        """The number of the round to come, from 0."""
        return 1 + max((n for rounds in self.by_name.values() for n in rounds), default=-1)

    @property
    def rounds(self) -> int:
        return min(map(len, self.by_name.values()))

    @property
    def disturbed(self) -> dict[int, Interference]:
        """By number, the rounds in which others took too much of a measurement: all they took."""
        rounds = {n: list(seen.values()) for n, seen in self.seen.items()}
        every = {n: [*of, *filter(None, [summed(of)])] for n, of in rounds.items()}
        return {n: of[-1] for n, of in every.items() if any(each.disturbed for each in of)}

    @property
    def left_out(self) -> set[int]:
        """The disturbed rounds, the worst first, as long as each candidate has enough others.

        That is ENOUGH_ROUNDS undisturbed ones; else half of its rounds, but ENOUGH_ROUNDS at least.
        """
        out: set[int] = set()
        if not (disturbed := self.disturbed):
            return out
        least = {}
        for name, rounds in self.by_name.items():
            quiet = len(rounds.keys() - disturbed.keys())
            half = 0 if quiet >= ENOUGH_ROUNDS else -(-len(rounds) // 2)
            least[name] = max(ENOUGH_ROUNDS, half)
        for number in sorted(disturbed, key=lambda number: -disturbed[number].share):
            having = {name: rounds for name, rounds in self.by_name.items() if number in rounds}
            if all(len(rounds.keys() - out) > least[name] for name, rounds in having.items()):
                out.add(number)
        return out

    def kept(self, name: Name) -> dict[int, M]:
        """A candidate's measurements that count, by round: without those that are left out."""
        out = self.left_out
        return {n: each for n, each in self.by_name[name].items() if n not in out}

    def taken_from(self, name: Name) -> Interference | None:
        """What others took from the measurements of a candidate that count; None if unknown."""
        seen = (self.seen.get(number, {}).get(name) for number in self.kept(name))
        return summed(each for each in seen if each is not None)

    @property
    def notes(self) -> list[str]:
        """A sentence where rounds were disturbed: how many, by what most, and what was done."""
        if not (disturbed := self.disturbed):
            return []
        worst = max(disturbed.values(), key=lambda seen: seen.share)
        every, out = self.next_round, self.left_out
        which = f"{len(disturbed)} of {counted(every, 'round')}"
        if len(disturbed) == every:
            which = f"all {every} rounds" if every > 1 else "the only round"
        done = "; none is left out"
        if len(out) == len(disturbed):
            done = " and left out"
        elif out:
            done = f"; the worst are left out ({len(out)})"
        were = "was" if len(disturbed) == 1 else "were"
        return [f"{which} {were} disturbed{done}: {worst.in_words('one of them')}"]

    def estimate(self, name: Name, quantity: Quantity[M]) -> Estimate:
        return estimate_of([quantity(each) for each in self.kept(name).values()])

    def pairs(
        self, over: Name, name: Name, quantity: Quantity[M], least: int = 1
    ) -> list[tuple[float, float]]:
        """A figure of two candidates in each round that both have.

        Of the rounds that count, where these are as many as `least`; else of all.
        """
        first, second = self.by_name.get(over, {}), self.by_name.get(name, {})
        both = first.keys() & second.keys()
        counting = both - self.left_out
        numbers = counting if len(counting) >= least else both
        return [(quantity(first[n]), quantity(second[n])) for n in sorted(numbers)]

    def saved(self, over: Name, name: Name, quantity: Quantity[M]) -> Estimate:
        """Mean of how much a candidate is below another one, in rounds that both have."""
        return estimate_of([more - less for more, less in self.pairs(over, name, quantity)])

    def gain(
        self, over: Name, name: Name, quantity: Quantity[M], level: float
    ) -> AnytimeEstimate | None:
        """The logarithm of how many times as low a figure is; its interval holds whenever one
        looks. None where no round has both.
        """
        return anytime_estimate(self.log_ratios(over, name, quantity), level)

    def log_ratios(self, over: Name, name: Name, quantity: Quantity[M]) -> list[float]:
        """The same of each round."""
        pairs = self.pairs(over, name, quantity, FEWEST_ROUNDS)
        return [math.log(max(more, 1e-9) / max(less, 1e-9)) for more, less in pairs]

    def fastest_of(self, names: Collection[Name], quantity: Quantity[M]) -> Name:
        """The candidate of the lowest figure beside each other one, be it by chance.

        Compared are rounds that both have: one that others left had them at another time.
        """

        def least_lead(name: Name) -> float:
            ratios = (self.log_ratios(other, name, quantity) for other in names if other != name)
            return min((estimate_of(each).mean for each in ratios if each), default=0.0)

        return max(names, key=least_lead)

    def tied_among(
        self, names: Collection[Name], quantity: Quantity[M], least_gain: float
    ) -> list[Name]:
        """Those that no other is faster than, by its rounds and by more than a part of the figure.

        Compared are logarithms: slow candidates vary by as much in proportion, so by more in
        seconds. It holds for a number of rounds that was decided before.
        """
        logarithms: list[BySeed] = [
            {n: math.log(max(quantity(each), 1e-9)) for n, each in self.kept(name).items()}
            for name in names
        ]
        margin = math.log(1 + least_gain)
        possible = may_be_best(logarithms, higher_is_better=False, margin=margin)
        return [name for name, best in zip(names, possible, strict=True) if best]


# Asked before each round, and within one after each candidate: whether it is enough.
StoppingRule = Callable[[Measurements[Any, Any]], bool]


def within(
    seconds: float,
    least: int,
    most: int,
    enough: StoppingRule = lambda measured: True,
    limit: int | None = None,
) -> StoppingRule:
    """Stops so long from now, but after a least number of rounds; before, once it is `enough`.

    That is asked after `most` undisturbed ones; `limit` rounds, by default MOST_TIMES as many, are
    enough in any case.
    """
    limit = MOST_TIMES * most if limit is None else limit
    until_ns = time.perf_counter_ns() + seconds * 1e9

    def stop(measured: Measurements[Any, Any]) -> bool:
        rounds = measured.next_round
        if time.perf_counter_ns() > until_ns or rounds >= limit:
            return rounds >= least
        return rounds - len(measured.disturbed) >= most and enough(measured)

    return stop


def run_rounds(
    candidates: Mapping[Name, Candidate[M]],
    stop: StoppingRule,
    report: Report[Name, M] = lambda name, number, measurement: None,
    optional: Container[Name] = (),
    measured: Measurements[Name, M] | None = None,
    watch: Watch[M] = unwatched,
) -> Measurements[Name, M]:
    """Measures candidates, in the order given, in interleaved rounds until a rule is satisfied.

    `optional` candidates are dropped where they fail; of others the error is raised. To what is
    `measured` already this adds further rounds.
    """
    measured = Measurements() if measured is None else measured
    while not (stop(measured) or candidates.keys() <= measured.failures.keys()):
        number = measured.next_round
        run_round(candidates.items(), measured, number, report, optional, watch=watch)
    return measured


def run_round(
    candidates: Iterable[tuple[Name, Candidate[M]]],
    measured: Measurements[Name, M],
    number: int,
    report: Report[Name, M] = lambda name, number, measurement: None,
    optional: Container[Name] = (),
    enough: StoppingRule = lambda measured: False,
    watch: Watch[M] = unwatched,
) -> list[Name]:
    """A single round, which ends early where `enough` says so; the names of those measured."""
    tried = []
    for name, measure in candidates:
        if name in measured.failures:
            continue
        try:
            measurement, seen = watch(partial(measure, number))
        except Exception as error:
            if name not in optional:
                raise
            measured.failures[name] = reason(error) + place(error)
            measured.drop(name)
            continue
        measured.add(name, number, measurement, seen)
        tried.append(name)
        report(name, number, measurement)
        if enough(measured):
            break
    return tried


def estimate_of(values: list[float]) -> Estimate:
    """The trimmed mean of rounds, and its 95 % interval; of one value at least."""
    estimate = trimmed_estimate(values)
    assert estimate is not None
    return estimate
