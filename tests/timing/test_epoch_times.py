"""One epoch's times, and the distribution of its steps."""

import random
import tracemalloc

import pytest

from hpml.timing.epoch_times import EpochTimes, StepTimes


def test_quantiles_are_within_half_a_percent() -> None:
    """Against the sorted durations themselves, over five orders of magnitude."""
    draw = random.Random(0)
    durations = [round(10 ** draw.uniform(4, 9)) for _ in range(10_000)]
    steps = StepTimes()
    for ns in durations:
        steps.add(ns)
    ordered = sorted(durations)
    for q in (0.5, 0.95, 0.99):
        exact = ordered[int(q * (len(ordered) - 1))]
        assert steps.quantile_ns(q) == pytest.approx(exact, rel=0.006)
    shown = steps.in_ms()
    assert shown is not None
    assert shown["max"] == ordered[-1] / 1e6


def test_no_step_no_distribution() -> None:
    """An epoch of one batch has no later steps."""
    assert StepTimes().in_ms() is None


def test_many_steps_take_no_more_memory_than_some() -> None:
    """The buckets are bounded, whatever is counted."""
    draw = random.Random(0)
    durations = [round(draw.lognormvariate(13, 2)) for _ in range(10_000)]
    steps = StepTimes()
    tracemalloc.start()
    try:
        for _ in range(5):
            for ns in durations:
                steps.add(ns)
        after_some, _ = tracemalloc.get_traced_memory()
        for _ in range(25):
            for ns in durations:
                steps.add(ns)
        grown = tracemalloc.get_traced_memory()[0] - after_some
    finally:
        tracemalloc.stop()
    assert grown < 50_000  # the counts themselves are larger numbers
    assert steps.count == 300_000


def test_what_was_not_measured_is_none() -> None:
    """With a phase missing, `other` is not known either: it holds what was not told apart."""
    epoch = EpochTimes(0, {"data": 5, "train/forward": 7, "other/loop": 3})
    epoch.unmeasured = frozenset({"transfer"})
    times = epoch.in_s()
    assert times["transfer_s"] is None
    assert times["other_s"] is None
    assert times["epoch_s"] == pytest.approx(15e-9)
    assert epoch.other_split() is None
