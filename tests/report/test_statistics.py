import math
import random
from statistics import fmean

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hpml.report.statistics import Estimate, Standing, estimate, standings


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_the_interval_is_scipys(values: list[float]) -> None:
    """Student's, at 95 %."""
    known = estimate(values)
    assert known is not None
    assert known.half_width is not None
    error = scipy.stats.sem(values)
    half = error * scipy.stats.t.ppf(0.975, len(values) - 1)
    assert known.mean == pytest.approx(fmean(values))
    assert known.half_width == pytest.approx(half, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    """And none has no mean."""
    assert estimate([3.0]) == Estimate(3.0, None, 1)
    assert estimate([]) is None


def by_seed(values: list[float]) -> dict[object, list[float]]:
    return {seed: [value] for seed, value in enumerate(values)}


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
    """Of equal size and without shared seeds, by the pooled t-test or Welch's error."""
    generator = random.Random(0)
    for shift in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
        one = [generator.gauss(0, 1) for _ in range(8)]
        other = [generator.gauss(shift, 1) for _ in range(8)]
        p_value = scipy.stats.ttest_ind(one, other).pvalue
        seeds = {seed + 100: [value] for seed, value in enumerate(other)}
        found = standings([by_seed(one), seeds], higher_is_better=True)
        assert ("worse" in found) == (p_value < 0.05)


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


@pytest.mark.parametrize(("settings", "repeats"), [(2, 3), (3, 3), (5, 3), (5, 10), (10, 5)])
def test_noise_is_hardly_ever_crowned(settings: int, repeats: int) -> None:
    """Of simulated sweeps whose settings do not differ, 5 % at most tell any from the best.

    600 sweeps; what chance adds to 5 % of them is three of its deviations.
    """
    generator = random.Random(settings * repeats)
    told = sum("worse" in simulated(settings, repeats, generator) for _ in range(600))
    assert told <= 600 * 0.05 + 3 * math.sqrt(600 * 0.05 * 0.95)


def test_unequal_noise_is_hardly_ever_crowned() -> None:
    """One setting that varies five times as much as the others does not make them differ."""
    generator = random.Random(7)
    told = sum("worse" in simulated(5, 10, generator, spread=5.0) for _ in range(400))
    assert told <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize(("settings", "least"), [(2, 0.65), (3, 0.65), (5, 0.65)])
def test_a_real_difference_is_found(settings: int, least: float) -> None:
    """Three standard errors of the difference, ten seeds: most sweeps tell one from the best."""
    generator = random.Random(settings)
    lead = 3 * math.sqrt(2 / 10)
    found = [simulated(settings, 10, generator, lead) for _ in range(400)]
    assert fmean(one[0] == "best" and "worse" in one for one in found) >= least


def test_a_difference_of_three_standard_errors_in_the_sample_is_found() -> None:
    """Two settings, ten seeds, the observed difference three times its standard error."""
    noise = [-1.0, 1.0] * 5
    error = scipy.stats.sem(noise)
    for factor, expected in ((3.0, "worse"), (1.5, "tied")):
        other = [value + factor * error for value in noise]
        found = standings([by_seed([0.0] * 10), by_seed(other)], higher_is_better=True)
        assert found == [expected, "best"]


def test_a_single_run_is_not_tested() -> None:
    """Nor does it keep the others from being compared."""
    many = by_seed([1.0, 1.1, 0.9, 1.05])
    worse = by_seed([0.1, 0.25, 0.0, 0.1])
    assert standings([{0: [5.0]}, many], True) == ["best", "untested"]
    assert standings([{0: [0.5]}, many, worse], True) == ["untested", "best", "worse"]
    assert standings([{}, many], True) == [None, "best"]
    assert standings([{}, {}], True) == [None, None]


def test_the_best_may_be_the_lowest() -> None:
    """Of times and losses."""
    slow, fast = by_seed([2.0, 2.1, 2.2]), by_seed([1.0, 1.11, 1.19])
    assert standings([slow, fast], higher_is_better=False) == ["worse", "best"]


def test_seeds_that_all_share_are_enough() -> None:
    """One run failed: the other seeds are still compared pair by pair."""
    seeds = [0.0, 10.0, 20.0, 30.0, 40.0]
    one = by_seed(seeds)
    ahead = {seed: [value + 1 + 0.01 * seed] for seed, value in enumerate(seeds) if seed}
    assert standings([one, ahead], higher_is_better=True) == ["worse", "best"]
    # without the last seed it has the lower mean, but in no seed the lower value
    behind = {seed: [value + 1 + 0.01 * seed] for seed, value in enumerate(seeds[:4])}
    assert standings([one, behind], higher_is_better=False) == ["tied", "best"]


@pytest.mark.parametrize(("repeats", "expected"), [(2, "tied"), (5, "tied"), (6, "worse")])
def test_figures_that_do_not_vary_prove_little(repeats: int, expected: str) -> None:
    """Rounded accuracies that differ by the same in each seed: a sign test decides."""
    one, other = by_seed([0.5] * repeats), by_seed([0.6] * repeats)
    assert standings([one, other], higher_is_better=True) == [expected, "best"]


def test_equal_figures_are_tied() -> None:
    """Workers do not change the accuracy."""
    same = by_seed([0.5, 0.6, 0.7])
    assert standings([same, same, same], higher_is_better=True) == ["best", "tied", "tied"]
