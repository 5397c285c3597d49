"""One epoch's times, and the distribution of its steps."""

import math
import random
import tracemalloc

import pytest

from hpml.timing.epoch_times import MOST_COUNTS, EpochTimes, StepTimes


def test_quantiles_are_within_half_a_percent() -> None:
    """Against the sorted durations themselves, over five orders of magnitude."""
    draw = random.Random(0)
    durations = [round(10 ** draw.uniform(4, 9)) for _ in range(10_000)]
    steps = StepTimes()
    for ns in durations:
        steps.add(ns)
    durations.sort()
    for q in (0.5, 0.95, 0.99):
        exact = durations[int(q * (len(durations) - 1))]
        assert steps.quantile_ns(q) == pytest.approx(exact, rel=0.006)
    assert steps.in_ms()["max"] == durations[-1] / 1e6


def test_no_step_no_distribution() -> None:
    """An epoch of one batch has no later steps."""
    assert StepTimes().in_ms() is None
    assert StepTimes().in_counts() is None


@pytest.mark.parametrize("spread", [0.01, 0.5, 3.0])
def test_few_counts_tell_the_distribution(spread: float) -> None:
    """Of whatever steps: all are counted, and stand where they were, as far as there is room."""
    draw = random.Random(0)
    durations = sorted(round(draw.lognormvariate(18, spread)) for _ in range(5000))
    steps = StepTimes()
    for ns in durations:
        steps.add(ns)
    counts = steps.in_counts()
    assert sum(counts.values()) == len(durations)
    assert 5 < len(counts) <= MOST_COUNTS
    width = max(0.01, math.log(durations[-1] / durations[0]) / (MOST_COUNTS / 2))
    seen = 0
    for text, count in counts.items():
        middle = durations[seen + count // 2] / 1e6
        assert float(text) == pytest.approx(middle, rel=1.1 * width)
        seen += count


def test_many_steps_take_no_more_memory_than_some() -> None:
    """The buckets are bounded, whatever is counted."""
    draw = random.Random(0)
    durations = [round(draw.lognormvariate(13, 2)) for _ in range(10_000)]
    steps, used = StepTimes(), []
    tracemalloc.start()
    for repeats in (5, 25):
        for ns in durations * repeats:
            steps.add(ns)
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert used[1] - used[0] < 50_000  # the counts themselves are larger numbers
    assert steps.count == 300_000


def test_what_was_not_measured_is_none() -> None:
    """With a phase missing, `other` is not known either: it holds what was not told apart."""
    epoch = EpochTimes(0, {"data": 5, "train/forward": 7, "other/loop": 3})
    epoch.unmeasured = frozenset({"transfer"})
    times = epoch.in_s()
    assert (times["transfer_s"], times["other_s"], epoch.other_split()) == (None, None, None)
    assert times["epoch_s"] == pytest.approx(15e-9)
