"""The engine of short fits: named candidates, measured in rounds until a rule is satisfied.

A candidate is a function that measures once. It may fit in this process (`Subject.candidates`) or
in a fresh one; nothing here knows. A round has each candidate once before any again: a machine that
grows busy slows all of them alike, and what one saves is the difference within a round.
"""

import math
import time
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Generic, TypeVar

from hpml.statistics import BySeed, Estimate, may_be_best, trimmed_estimate

Name = TypeVar("Name", bound=Hashable)
M = TypeVar("M")
# Measures once, in the round of this number.
Candidate = Callable[[int], M]
# A figure of a measurement, in seconds: the less, the better.
Quantity = Callable[[M], float]
Report = Callable[[Name, int, M], object]


@dataclass(eq=False)
class Measurements(Generic[Name, M]):
    """What was measured of some candidates."""

    # of each candidate, in the order in which they were first tried, by round
    by_name: dict[Name, dict[int, M]] = field(default_factory=dict)
    failures: dict[Name, str] = field(default_factory=dict)  # why a candidate was dropped

    def add(self, name: Name, number: int, measurement: M) -> None:
        self.by_name.setdefault(name, {})[number] = measurement

    @property
    def next_round(self) -> int:
        """The number of the round to come, from 0."""
        return 1 + max((n for rounds in self.by_name.values() for n in rounds), default=-1)

    @property
    def rounds(self) -> int:
        return min(map(len, self.by_name.values()))

    def estimate(self, name: Name, quantity: Quantity[M]) -> Estimate:
        return estimate_of([quantity(each) for each in self.by_name[name].values()])

    def saved(self, over: Name, name: Name, quantity: Quantity[M]) -> Estimate:
        """Mean of how much a candidate is below another one, in rounds that both have."""
        more, less = self.by_name[over], self.by_name[name]
        return estimate_of([quantity(more[n]) - quantity(less[n]) for n in more if n in less])

    def fastest_in(self, quantity: Quantity[M]) -> Name:
        """The candidate of the lowest figure, be it by chance."""
        return min(self.by_name, key=lambda name: self.estimate(name, quantity).mean)

    def tied_in(self, quantity: Quantity[M], least_gain: float) -> list[Name]:
        """Those that no other is faster than, by its rounds and by more than a part of the figure.

        Compared are logarithms: slow candidates vary by as much in proportion, so by more in
        seconds.
        """
        logarithms: list[BySeed] = [
            {n: math.log(max(quantity(each), 1e-9)) for n, each in rounds.items()}
            for rounds in self.by_name.values()
        ]
        margin = math.log(1 + least_gain)
        possible = may_be_best(logarithms, higher_is_better=False, margin=margin)
        return [name for name, best in zip(self.by_name, possible, strict=True) if best]


# Asked before each round, and within one after each candidate: whether it is enough.
StoppingRule = Callable[[Measurements[Any, Any]], bool]


def after_rounds(count: int) -> StoppingRule:
    """Stops after so many rounds in all, with those that there were before."""
    return lambda measured: measured.next_round >= count


def within(seconds: float, least: int, most: int) -> StoppingRule:
    """Stops so long from now, but after a least and a most number of rounds."""
    until_ns = time.perf_counter_ns() + seconds * 1e9
    return lambda measured: (
        measured.next_round >= (least if time.perf_counter_ns() > until_ns else most)
    )


def without_gain(
    quantities: Sequence[Quantity[Any]], least_gain: float, in_a_row: int
) -> StoppingRule:
    """Stops once so many candidates in a row are in no figure below all before them."""
    fruitless = 0

    def stop(measured: Measurements[Any, Any]) -> bool:
        nonlocal fruitless
        # means of all rounds, with those that stick out
        *before, last = (
            [fmean(map(quantity, rounds.values())) for quantity in quantities]
            for rounds in measured.by_name.values()
        )
        fastest = [(1 - least_gain) * min(figures) for figures in zip(*before, strict=True)]
        gains = not before or any(now < then for now, then in zip(last, fastest, strict=True))
        fruitless = 0 if gains else fruitless + 1
        return fruitless >= in_a_row

    return stop


def run_rounds(
    candidates: Mapping[Name, Candidate[M]],
    stop: StoppingRule,
    report: Report[Name, M] = lambda name, number, measurement: None,
    optional: Container[Name] = (),
    measured: Measurements[Name, M] | None = None,
) -> Measurements[Name, M]:
    """Measures candidates, in the order given, in interleaved rounds until a rule is satisfied.

    `optional` candidates are dropped where they fail; of others the error is raised. To what is
    `measured` already this adds further rounds.
    """
    measured = Measurements() if measured is None else measured
    while not (stop(measured) or candidates.keys() <= measured.failures.keys()):
        run_round(candidates.items(), measured, measured.next_round, report, optional)
    return measured


def run_round(
    candidates: Iterable[tuple[Name, Candidate[M]]],
    measured: Measurements[Name, M],
    number: int,
    report: Report[Name, M] = lambda name, number, measurement: None,
    optional: Container[Name] = (),
    enough: StoppingRule = lambda measured: False,
) -> list[Name]:
    """A single round, which ends early where `enough` says so; the names of those measured."""
    tried = []
    for name, measure in candidates:
        if name in measured.failures:
            continue
        try:
            measurement = measure(number)
        except Exception as error:
            if name not in optional:
                raise
            measured.failures[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            measured.by_name.pop(name, None)
            continue
        measured.add(name, number, measurement)
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
