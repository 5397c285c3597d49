"""Means with intervals, and which settings are tied with the best."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from scipy.special import fdtri, stdtr, stdtrit

LEVEL = 0.05
# An interval whose half is wider than this part of the mean is told by the runs' range.
WIDE = 0.5
# What share of pairs that vary as the others do is taken for one that does.
ALIKE = 0.9
# The same of settings measured in rounds on one machine, which do vary alike.
ALIKE_IN_ROUNDS = 0.99
Standing = Literal["best", "tied", "worse", "untested"]
BySeed = Mapping[object, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` runs; the half-width of its 95 % interval is None where n is 1.

    `lowest` and `highest` are the runs' own, None where nobody kept them.
    """

    mean: float
    half_width: float | None
    n: int
    lowest: float | None = field(default=None, compare=False)
    highest: float | None = field(default=None, compare=False)

    @property
    def is_wide(self) -> bool:
        """Whether the interval tells little; of two runs it is 13 times as wide as their range."""
        return self.half_width is not None and self.half_width > WIDE * abs(self.mean)

    @property
    def is_told_by_range(self) -> bool:
        """Whether it is wide, and the runs' range is known and has no 0 that the interval lacks."""
        if self.lowest is None or self.highest is None or self.half_width is None:
            return False
        is_sure = abs(self.mean) > self.half_width
        return self.is_wide and not (is_sure and self.lowest < 0 < self.highest)

    @property
    def ends(self) -> tuple[float, float]:
        """Of the interval, or of the runs' range where the interval is wide; the mean for none."""
        if self.is_told_by_range:
            assert self.lowest is not None
            assert self.highest is not None
            return self.lowest, self.highest
        half_width = self.half_width or 0.0
        return self.mean - half_width, self.mean + half_width

    @property
    def floor(self) -> float:
        """Of differences of the same work done twice: what is less cannot be told from none."""
        return max(abs(self.mean), self.half_width or 0.0)

    def in_units(self, size: float) -> "Estimate":
        """The same in units of a size: 90 s in units of 60 are 1.5."""
        of = (self.half_width, self.lowest, self.highest)
        half_width, lowest, highest = (None if value is None else value / size for value in of)
        return Estimate(self.mean / size, half_width, self.n, lowest, highest)

    def __abs__(self) -> "Estimate":
        if self.mean >= 0:
            return self
        lowest, highest = (None if end is None else -end for end in (self.highest, self.lowest))
        return Estimate(-self.mean, self.half_width, self.n, lowest, highest)


def stdev(values: Sequence[float]) -> float:
    """The standard deviation of a sample, in a tenth of the time of Python's own, which is exact.

    Of equal values it is 0.
    """
    apart = [value - values[0] for value in values]
    mean = fmean(apart)
    squares = math.fsum([(value - mean) ** 2 for value in apart])
    return math.sqrt(squares / (len(values) - 1))


def students_quantile(freedom: float, level: float = LEVEL) -> float:
    """Half the width of an interval in standard errors, of 95 % unless another `level` is given.

    Infinite freedom is for a known error.

    Source: Student (1908), "The probable error of a mean".
    """
    return float(stdtrit(freedom, 1 - level / 2))


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean and Student's interval; None where there are no values."""
    n = len(values)
    if n < 2:
        return Estimate(values[0], None, 1) if n else None
    half_width = students_quantile(n - 1) * stdev(values) / math.sqrt(n)
    return Estimate(fmean(values), half_width, n, min(values), max(values))


def trimmed_estimate(values: Sequence[float]) -> Estimate | None:
    """The mean without the fifth that is lowest and the fifth that is highest, and its interval.

    For figures of which a machine that others use too spoils one now and then. Of fewer than five
    nothing is left out. `n` counts all of them.

    Source: Tukey and McLaughlin (1963), "Less vulnerable confidence and significance procedures
    for location based on a single sample".
    """
    n, cut = len(values), len(values) // 5
    if not cut:
        return estimate(values)
    kept = sorted(values)[cut : n - cut]
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    error = stdev(winsorised) / ((1 - 2 * cut / n) * math.sqrt(n))
    half_width = students_quantile(len(kept) - 1) * error
    return Estimate(fmean(kept), half_width, n, min(values), max(values))


def welch(samples: Iterable[tuple[float, int]]) -> tuple[float, float]:
    """Variance of the difference of two means, and its degrees of freedom.

    Each of the samples is its standard deviation and its number of values, at least two.

    Source: Welch (1947), "The generalization of Student's problem when several different population
    variances are involved".
    """
    parts = [(deviation**2 / n, n - 1) for deviation, n in samples]
    variance = sum(part for part, _ in parts)
    squares = sum(part**2 / freedom for part, freedom in parts)
    return variance, variance**2 / squares if squares else 1.0


def standings(
    by_seed: Sequence[BySeed], every: Sequence[Sequence[float]], higher_is_better: bool
) -> list[Standing | None]:
    """Which settings are tied with the one of the best mean, at 95 % for all claims together.

    A setting is worse where a two-sided t-test tells it from the best. Two settings that share two
    seeds or more are compared on these, pair by pair; others by Welch's test. In the first case
    the error is that of all settings in a randomised block design, or the pair's own where that is
    larger; a pair that varies much more than the others (an F-test at 10 %) keeps its own degrees
    of freedom too. The level is divided by the number of pairs of settings (Bonferroni): the best
    was picked after looking.

    `by_seed` has for each setting a value for each seed, `every` the values of all its runs. A
    setting without values stands at None. What ran once is untested: it is not the best either
    where others are repeated.
    """
    result: list[Standing | None] = ["untested" if values else None for values in every]
    repeated = [index for index, values in enumerate(every) if len(values) > 1]
    if not repeated:
        return ["best" if s else None for s in result] if result.count("untested") == 1 else result
    sign = 1 if higher_is_better else -1
    best = max(repeated, key=lambda index: sign * fmean(every[index]))
    pooled = _residual_variance([by_seed[index] for index in repeated])
    pairs = max(1, len(repeated) * (len(repeated) - 1) // 2)
    for index in repeated:
        seeds = [s for s in by_seed[best] if s is not None and s in by_seed[index]]
        if len(seeds) > 1:
            differences = [by_seed[best][seed] - by_seed[index][seed] for seed in seeds]
            lead, p_value = _paired(differences, pooled)
        else:
            lead, p_value = _unpaired(every[best], every[index])
        # of the seeds that both share the other one may be ahead
        is_worse = sign * lead > 0 and p_value * pairs < LEVEL
        result[index] = "best" if index == best else "worse" if is_worse else "tied"
    return result


def may_be_best(
    by_round: Sequence[BySeed], higher_is_better: bool, margin: float = 0.0
) -> list[bool]:
    """Which settings no other one is proven to be better than, by more than a margin.

    The one that is best in truth is among them in 19 of 20 cases, however many there are. Each is
    compared with every other one in the rounds that both have, by a one-sided test with the error
    of `standings`; the level is divided by the number of the others (Bonferroni). Of fewer than two
    such rounds nothing is proven. The margin is in the values' unit.

    Source: Hsu (1984), "Constrained simultaneous confidence intervals for multiple comparisons with
    the best".
    """
    sign = 1 if higher_is_better else -1
    pooled = _residual_variance(by_round)

    def is_better(first: BySeed, second: BySeed) -> bool:
        leads = [sign * (first[n] - second[n]) - margin for n in first if n in second]
        if len(leads) < 2 or fmean(leads) <= 0:
            return False
        p_value = _paired(leads, pooled, ALIKE_IN_ROUNDS)[1] / 2
        return p_value * (len(by_round) - 1) < LEVEL

    return [
        not any(is_better(other, values) for other in by_round if other is not values)
        for values in by_round
    ]


def _paired(
    differences: Sequence[float], pooled: tuple[float, int] | None, alike: float = ALIKE
) -> tuple[float, float]:
    """The mean difference and its p-value; `pooled` are variance and freedom of one value."""
    n = len(differences)
    variance, freedom = stdev(differences) ** 2 / n, n - 1
    if pooled is not None:
        of_all, of_all_freedom = 2 * pooled[0] / n, pooled[1]
        if variance <= of_all * float(fdtri(freedom, of_all_freedom, alike)):
            variance, freedom = max(variance, of_all), of_all_freedom
    return fmean(differences), _p_value(fmean(differences), variance, freedom, n)


def _unpaired(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The difference of the means and its p-value."""
    variance, freedom = welch((stdev(values), len(values)) for values in (first, second))
    difference = fmean(first) - fmean(second)
    return difference, _p_value(difference, variance, freedom, min(len(first), len(second)))


def _residual_variance(samples: Sequence[BySeed]) -> tuple[float, int] | None:
    """Variance and degrees of freedom of what settings and seeds, added, do not explain.

    Seeds of one setting alone say nothing about it. None where nothing does.
    """
    counts = Counter(seed for sample in samples for seed in sample)
    rows = [{s: value for s, value in sample.items() if counts[s] > 1} for sample in samples]
    rows = [row for row in rows if len(row) > 1]
    seeds = {seed for row in rows for seed in row}
    freedom = sum(map(len, rows)) - len(rows) - len(seeds) + 1
    if len(rows) < 2 or freedom < 1:
        return None
    of_seed = dict.fromkeys(seeds, 0.0)
    for _ in range(20):  # exact after one where all settings have all seeds
        effects = [fmean([value - of_seed[s] for s, value in row.items()]) for row in rows]
        gathered = defaultdict(list)
        for effect, row in zip(effects, rows, strict=True):
            for seed, value in row.items():
                gathered[seed].append(value - effect)
        of_seed = {seed: fmean(values) for seed, values in gathered.items()}
    squares = ((value - of_seed[seed]) ** 2 for seed in seeds for value in gathered[seed])
    return sum(squares) / freedom, freedom


def _p_value(difference: float, variance: float, freedom: float, n: int) -> float:
    """Two-sided, of Student's t; of a sign test where nothing varies, as in rounded figures."""
    if difference == 0:
        return 1.0
    if variance <= (1e-12 * difference) ** 2:
        return float(2.0 ** (1 - n))
    return float(2 * stdtr(freedom, -abs(difference) / math.sqrt(variance)))


@dataclass(frozen=True)
class AnytimeEstimate:
    """A mean over `n` values with an interval that holds whenever one looks; None: no bound yet."""

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float:
        return -math.inf if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float:
        return math.inf if self.half_width is None else self.mean + self.half_width


# Variance of the mixture over effects, in variances of a value: large, since what is searched for
# is many times what a round varies by, and is then proven by three or four rounds.
MIXTURE = 25.0


def anytime_estimate(values: Sequence[float], level: float = LEVEL) -> AnytimeEstimate | None:
    """The mean, and an interval that misses it with probability `level`, however often one looks.

    For normal values of unknown variance: the t-test's likelihood ratio, mixed over effects by a
    normal distribution, exceeds 1 / level at any time with no more than that probability; inside
    the interval are the means that it does not exceed it for. None where there are no values; two
    values are no bound.

    Source: Lai (1976), "On confidence sequences"; Grünwald, de Heide and Koolen (2024), "Safe
    testing".
    """
    n = len(values)
    if n == 0:
        return None
    growth = 1 + n * MIXTURE
    ratio = (math.sqrt(growth) / level) ** (2 / n)
    if n < 2 or ratio >= growth:
        return AnytimeEstimate(fmean(values), None, n)
    t_squared = (n - 1) * (ratio - 1) / (1 - ratio / growth)
    return AnytimeEstimate(fmean(values), stdev(values) * math.sqrt(t_squared / n), n)
