import itertools
import math
import random
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hpml.statistics import (
    AnytimeEstimate,
    BySeed,
    Estimate,
    Standing,
    _residual_variance,
    anytime_estimate,
    estimate,
    may_be_best,
)
from hpml.statistics import standings as _standings


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_the_interval_is_scipys(values: list[float]) -> None:
    """Student's, at 95 %; one value has none, and none has no mean."""
    half = scipy.stats.sem(values) * scipy.stats.t.ppf(0.975, len(values) - 1)
    rounded = pytest.approx(half, rel=1e-9, abs=1e-8)  # of a million scipy has ten digits behind it
    assert estimate(values) == Estimate(pytest.approx(fmean(values)), rounded, len(values))
    assert (estimate(values[:1]), estimate([])) == (Estimate(values[0], None, 1), None)


def by_seed(values: list[float], first: int = 0) -> dict[object, float]:
    return dict(enumerate(values, start=first))


def standings(samples: list[dict[object, float]], higher_is_better: bool) -> list[Standing | None]:
    return _standings(samples, [list(sample.values()) for sample in samples], higher_is_better)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12))
def test_two_settings_are_compared_as_scipy_does(pairs: list[tuple[float, float]]) -> None:
    """By a paired t-test where they share seeds, at 5 %."""
    one, other = (list(column) for column in zip(*pairs, strict=True))
    differences = [a - b for a, b in pairs]
    if len(set(one)) < len(one) or len({round(d, 6) for d in differences}) < 3:
        return  # nothing varies
    p_value = scipy.stats.ttest_rel(one, other).pvalue
    if abs(p_value - 0.05) < 1e-6:
        return
    found = standings([by_seed(one), by_seed(other)], higher_is_better=True)
    assert sorted(map(str, found)) == ["best", "worse" if p_value < 0.05 else "tied"]


def test_unpaired_settings_are_compared_as_scipy_does() -> None:
    """By Welch's test where they share no seeds, or but one."""
    generator = random.Random(0)
    told = set()
    for shift, size in itertools.product((0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0), (2, 4, 8)):
        one = [generator.gauss(0, 1) for _ in range(8)]
        other = [generator.gauss(shift, 3) for _ in range(size)]
        p_value = scipy.stats.ttest_ind(one, other, equal_var=False).pvalue
        found = standings([by_seed(one), by_seed(other, first=7)], higher_is_better=True)
        assert ("worse" in found) == (p_value < 0.05)
        told.add("worse" in found)
    assert told == {True, False}


def test_the_pooled_error_is_that_of_a_block_design() -> None:
    """As an analysis of variance gives it; a missing value costs one degree of freedom."""
    generator = random.Random(1)
    rows = [[generator.gauss(0, 1) + seed for seed in range(5)] for _ in range(4)]
    table = np.array(rows)
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    expected = (residual**2).sum() / 12, 12
    assert _residual_variance([by_seed(row) for row in rows]) == pytest.approx(expected)
    fewer = [by_seed(rows[0][:4]), *map(by_seed, rows[1:])]
    # least squares on indicators of settings and seeds
    cells = [(i, s, value) for i, row in enumerate(fewer) for s, value in row.items()]
    design = np.zeros((len(cells), 9))
    for line, (i, s, _) in enumerate(cells):
        design[line, i] = design[line, 4 + int(str(s))] = 1
    values = np.array([value for *_, value in cells])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    assert _residual_variance(fewer) == pytest.approx(((rest**2).sum() / 11, 11), rel=1e-6)


def simulated(
    settings: int, repeats: int, generator: random.Random, lead: float = 0.0, spread: float = 1.0
) -> list[Standing | None]:
    """Standings of settings whose seeds have an effect of their own; the first one may lead."""
    of_seed = [generator.gauss(0, 2) for _ in range(repeats)]
    rows = [
        [effect + generator.gauss(0, spread if index == 1 else 1) for effect in of_seed]
        for index in range(settings)
    ]
    rows[0] = [value + lead for value in rows[0]]
    return standings([by_seed(row) for row in rows], higher_is_better=True)


def by_chance(count: int, share: float) -> float:
    """The share of a count, and what chance adds to it: three of its deviations."""
    return count * share + 3 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize(
    ("settings", "repeats", "spread", "most"),
    [
        *((*sizes, 1.0, 0.05) for sizes in ((2, 3), (3, 3), (5, 3), (5, 10), (10, 5))),
        # one setting varies much more than the others; with two seeds that is hard to see
        *((5, 3, 5.0, 0.08), (5, 3, 10.0, 0.08), (5, 10, 5.0, 0.05), (5, 2, 10.0, 0.12)),
    ],
)
def test_noise_is_hardly_crowned(settings: int, repeats: int, spread: float, most: float) -> None:
    """Of simulated sweeps whose settings do not differ, few tell any from the best."""
    generator = random.Random(settings * repeats if spread == 1 else 7)
    sweeps = (simulated(settings, repeats, generator, spread=spread) for _ in range(600))
    assert sum("worse" in sweep for sweep in sweeps) <= by_chance(600, most)


@pytest.mark.parametrize("sizes", [(10, 2), (10, 3), (5, 3), (5, 5, 5, 5, 2), (5, 5)])
def test_noise_of_other_seeds_is_hardly_ever_crowned(sizes: tuple[int, ...]) -> None:
    """Settings without shared seeds, of unequal numbers, the last of which varies most."""
    generator = random.Random(sum(sizes))
    last, crowned = len(sizes) - 1, 0
    for _ in range(400):
        samples = [
            by_seed([generator.gauss(0, 5 if n == last else 1) for _ in range(size)], 100 * n)
            for n, size in enumerate(sizes)
        ]
        crowned += "worse" in standings(samples, higher_is_better=True)
    # Welch's test of two values is known to be a little liberal
    assert crowned <= by_chance(400, 0.06)


@pytest.mark.parametrize(
    ("settings", "repeats", "errors", "least"),
    [(2, 10, 3, 0.65), (3, 10, 3, 0.6), (5, 10, 3, 0.55), (5, 3, 8, 0.75)],
)
def test_a_real_difference_is_found(
    settings: int, repeats: int, errors: float, least: float
) -> None:
    """Of three standard errors from some other setting; of eight, with three seeds, from all."""
    generator = random.Random(settings)
    lead = errors * math.sqrt(2 / repeats)
    sweeps = [simulated(settings, repeats, generator, lead) for _ in range(400)]
    worse = 1 if errors == 3 else settings - 1
    leads = (sweep[0] == "best" and sweep.count("worse") >= worse for sweep in sweeps)
    assert fmean(leads) >= least


def test_one_odd_setting_takes_no_power_from_the_others() -> None:
    """Two settings of ten shared seeds are told apart whatever seeds a third one has."""
    generator = random.Random(3)
    of_seed = [generator.gauss(0, 5) for _ in range(10)]
    one = by_seed([value + generator.gauss(0, 1) for value in of_seed])
    other = by_seed([value + 3 + generator.gauss(0, 1) for value in of_seed])
    for odd in ({0: 90.0, 1: 91.0}, {70: 90.0, 71: 91.0}):
        assert standings([one, other, odd], False)[:2] == ["best", "worse"]


def test_seeds_that_all_share_are_enough() -> None:
    """One run failed: the other seeds are still compared pair by pair."""
    seeds = [0.0, 10.0, 20.0, 30.0, 40.0]
    one = by_seed(seeds)
    ahead = {seed: value + 1 + 0.01 * seed for seed, value in enumerate(seeds) if seed}
    assert standings([one, ahead], higher_is_better=True) == ["worse", "best"]
    # without the last seed it has the lower mean, but in no seed the lower value
    behind = {seed: value + 1 + 0.01 * seed for seed, value in enumerate(seeds[:4])}
    assert standings([one, behind], higher_is_better=False) == ["tied", "best"]


MANY, SAME, NOISE = [1.0, 1.1, 0.9, 1.05], [0.5, 0.6, 0.7], [-1.0, 1.0] * 5


@pytest.mark.parametrize(
    ("samples", "higher_is_better", "expected"),
    [
        # a single run is not tested, nor keeps others from being compared, were it the best of all
        ([[5.0], MANY], True, ["untested", "best"]),
        ([[5.0], MANY, [0.1, 0.25, 0.0, 0.1]], True, ["untested", "best", "worse"]),
        ([[5.0], [6.0]], True, ["untested", "untested"]),
        ([[], MANY], True, [None, "best"]),
        ([[], [1.0]], True, [None, "best"]),
        ([[], []], True, [None, None]),
        # the observed difference is so many times its standard error
        *(
            ([[0.0] * 10, [value + times * scipy.stats.sem(NOISE) for value in NOISE]], True, told)
            for times, told in ((3.0, ["worse", "best"]), (1.5, ["tied", "best"]))
        ),
        # rounded accuracies that differ by the same in each seed: a sign test decides
        *(
            ([[0.5] * repeats, [0.6] * repeats], True, [told, "best"])
            for repeats, told in ((2, "tied"), (5, "tied"), (6, "worse"))
        ),
        # workers do not change the accuracy; times and losses are the better the lower
        ([SAME] * 3, True, ["best", "tied", "tied"]),
        ([[2.0, 2.1, 2.2], [1.0, 1.11, 1.19]], False, ["worse", "best"]),
    ],
)
def test_what_is_told_of_settings(
    samples: list[list[float]], higher_is_better: bool, expected: list[Standing | None]
) -> None:
    """Of values by seed, the first of each setting with the first of the others."""
    assert standings([*map(by_seed, samples)], higher_is_better) == expected


def made_rounds(means: Sequence[float], seed: int) -> list[BySeed]:
    """A value of each setting in five rounds, with a share that all have of a round."""
    draws = random.Random(seed)
    of_round = [draws.gauss(0, 0.15) for _ in range(5)]
    return [by_seed([mean + one + draws.gauss(0, 0.05) for one in of_round]) for mean in means]


@pytest.mark.parametrize("settings", [2, 4, 8])
def test_the_best_in_truth_may_be_the_best(settings: int) -> None:
    """In 19 of 20 cases, also where all are alike and any of them can look so."""
    missed = sum(
        not may_be_best(made_rounds([1.0] * settings, seed), higher_is_better=False)[0]
        for seed in range(400)
    )
    assert missed <= 0.05 * 400


def test_what_others_are_better_than_is_told() -> None:
    """Six standard errors of a difference suffice for nine in ten, of eight settings."""
    error, told = 0.05 * math.sqrt(2 / 5), 0
    for seed in range(200):
        values = made_rounds([0.0] * 7 + [6 * error], seed)
        found = may_be_best(values, higher_is_better=True)
        told += found[7] and not any(found[:7])
        assert may_be_best([{n: -v for n, v in of.items()} for of in values], False) == found
    assert told >= 0.9 * 200


def test_rounds_that_two_settings_share_are_compared() -> None:
    """A later setting with the best of the earlier ones, in the rounds after these."""
    early = {0: 1.0, 1: 1.02, 2: 1.01}
    best = {0: 0.50, 1: 0.53, 2: 0.51, 3: 2.0, 4: 2.02}  # the machine has become busy
    late = {3: 3.0, 4: 3.03}
    assert may_be_best([early, best, late], higher_is_better=False) == [False, True, False]


def test_an_anytime_interval_holds_whenever_one_looks() -> None:
    """Of 400 series of 40 values, looked at after each, at most 5 % ever miss their mean."""
    generator = np.random.default_rng(0)
    missed = 0
    for values in generator.normal(1.0, 0.1, size=(400, 40)).tolist():
        looks = (anytime_estimate(values[:n]) for n in range(2, 41))
        missed += any(look is not None and not look.low <= 1.0 <= look.high for look in looks)
    assert missed <= 20


def test_an_anytime_interval_of_few_values() -> None:
    """Two bound nothing, four of little spread do; a lower level takes a wider one."""
    assert anytime_estimate([]) is None
    assert anytime_estimate([1.0, 1.1]) == AnytimeEstimate(1.05, None, 2)
    five, strict = (
        anytime_estimate([0.5, 0.51, 0.49, 0.5, 0.505], level) for level in (0.05, 0.005)
    )
    assert five is not None
    assert strict is not None
    assert 0 < five.half_width < strict.half_width < 0.05  # type: ignore[operator]
