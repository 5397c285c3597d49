"""Means with intervals, and which settings are tied with the best."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy.special import stdtr, stdtrit

LEVEL = 0.05
Standing = Literal["best", "tied", "worse", "untested"]
# Of two settings by their index: the difference of their means, and its p-value.
Compare = Callable[[int, int], tuple[float, float]]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` runs; the half-width of its 95 % interval is None where n is 1."""

    mean: float
    half_width: float | None
    n: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean and Student's interval; None where there are no values.

    Student (1908), "The probable error of a mean".
    """
    if not values:
        return None
    n = len(values)
    if n == 1:
        return Estimate(values[0], None, 1)
    error = stdev(values) / math.sqrt(n)
    return Estimate(fmean(values), float(stdtrit(n - 1, 1 - LEVEL / 2)) * error, n)


def standings(
    by_seed: Sequence[Mapping[object, Sequence[float]]], higher_is_better: bool
) -> list[Standing | None]:
    """Which settings are tied with the one of the best mean, at 95 % for all claims together.

    A setting is worse where a two-sided t-test tells it from the best. Where the settings share two
    seeds or more, these are compared pair by pair. The error is the larger of two: that of the
    pair, and that of all settings pooled (of a randomised block design, or of groups). The level
    is divided by the number of pairs of settings (Bonferroni): the best was picked after looking.

    Args:
        by_seed: for each setting the values of its runs by their seed.
        higher_is_better: which mean is the best.

    Returns:
        A standing for each setting; None for one without values. A setting of one run is untested.
    """
    every = [[value for some in values.values() for value in some] for values in by_seed]
    means = [fmean(values) if values else None for values in every]
    known = [mean for mean in means if mean is not None]
    if not known:
        return [None] * len(means)
    best = means.index(max(known) if higher_is_better else min(known))
    samples = [{seed: fmean(some) for seed, some in values.items()} for values in by_seed]
    tested = [index for index, values in enumerate(every) if len(values) > 1]
    shared = set.intersection(*(set(samples[index]) for index in tested)) if tested else set()
    shared.discard(None)
    if len(shared) >= 2:
        seeds = sorted(shared, key=str)
        rows = {index: [samples[index][seed] for seed in seeds] for index in tested}
        compare = _paired(rows)
    else:
        rows = {index: every[index] for index in tested}
        compare = _unpaired(rows)
    pairs = max(1, len(tested) * (len(tested) - 1) // 2)
    found: list[Standing | None] = []
    for index, mean in enumerate(means):
        if mean is None:
            found.append(None)
        elif index == best:
            found.append("best")
        elif index not in rows or best not in rows:
            found.append("untested")
        else:
            difference, p_value = compare(best, index)
            # of the seeds that all share another one may be ahead
            ahead = difference > 0 if higher_is_better else difference < 0
            found.append("worse" if ahead and p_value * pairs < LEVEL else "tied")
    return found


def _paired(rows: Mapping[int, Sequence[float]]) -> Compare:
    """Compares two rows of a randomised block design, whose columns are the seeds."""
    n, k = len(next(iter(rows.values()))), len(rows)
    row_means = {index: fmean(row) for index, row in rows.items()}
    columns = [fmean(column) for column in zip(*rows.values(), strict=True)]
    grand = fmean(columns)
    residuals = [
        value - row_means[index] - column + grand
        for index, row in rows.items()
        for value, column in zip(row, columns, strict=True)
    ]
    freedom = (k - 1) * (n - 1)
    pooled = 2 * sum(r * r for r in residuals) / freedom / n if freedom else 0.0

    def compare(one: int, other: int) -> tuple[float, float]:
        differences = [a - b for a, b in zip(rows[one], rows[other], strict=True)]
        own = stdev(differences) ** 2 / n
        difference = fmean(differences)
        return difference, _p_value(difference, max(own, pooled), freedom, n)

    return compare


def _unpaired(rows: Mapping[int, Sequence[float]]) -> Compare:
    """Compares two groups of a one-way layout."""
    variances = {index: stdev(row) ** 2 for index, row in rows.items()}
    freedom = sum(len(row) - 1 for row in rows.values())
    pooled = sum(variances[i] * (len(row) - 1) for i, row in rows.items()) / max(1, freedom)

    def compare(one: int, other: int) -> tuple[float, float]:
        sizes = len(rows[one]), len(rows[other])
        own = variances[one] / sizes[0] + variances[other] / sizes[1]
        of_all = pooled / sizes[0] + pooled / sizes[1]
        difference = fmean(rows[one]) - fmean(rows[other])
        return difference, _p_value(difference, max(own, of_all), freedom, min(sizes))

    return compare


def _p_value(difference: float, variance: float, freedom: int, n: int) -> float:
    """Two-sided, of Student's t; of a sign test where nothing varies, as in rounded figures."""
    if difference == 0:
        return 1.0
    if variance <= (1e-12 * difference) ** 2:
        return float(2.0 ** (1 - n))
    return float(2 * stdtr(freedom, -abs(difference) / math.sqrt(variance)))
