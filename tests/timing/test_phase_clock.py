"""The clock of exclusive phases."""

from collections import Counter

import pytest
from helpers.delays import VirtualClock
from hypothesis import given
from hypothesis import strategies as st

from hpml.timing.phase_clock import PhaseClock

PHASES = st.sampled_from(["data", "train", "other"])
EVENTS = st.lists(
    st.tuples(st.sampled_from(["enter", "relabel", "claim"]), PHASES)
    | st.tuples(st.sampled_from(["leave", "take"]), st.none())
    | st.tuples(st.just("unwind"), st.integers(1, 5))
    | st.tuples(st.just("wait"), st.integers(0, 10**9))
)


@given(EVENTS)
def test_phases_sum_to_the_wall_whatever_happens(events: list[tuple[str, object]]) -> None:
    """Any sequence: the sum is the time that passed, and no phase is negative."""
    time = VirtualClock()
    clock = PhaseClock("outermost", lambda: time.ns)
    total: Counter[str] = Counter()
    for kind, value in events:
        match kind, value:
            case "wait", int(ns):
                time.spend(ns)
            case "unwind", int(depth) if depth <= clock.depth:
                clock.leave(depth)
                assert clock.depth == depth
            case "leave", None if clock.depth > 1:
                clock.leave()
            case (("enter" | "relabel" | "claim"), str(phase)):
                getattr(clock, kind)(phase)
            case "take", None:
                total.update(clock.take())
        so_far = clock.times()
        assert sum(so_far.values()) + sum(total.values()) == time.ns
        assert all(ns >= 0 for ns in so_far.values())


@given(EVENTS, st.integers(0, 20))
def test_an_exception_leaves_it_consistent(events: list[tuple[str, object]], after: int) -> None:
    """Phases left open by an exception are closed by the one around them, and nothing is lost."""
    time = VirtualClock()
    clock = PhaseClock("outermost", lambda: time.ns)
    clock.enter("train")
    for kind, value in events[:after]:
        if isinstance(value, str):
            clock.enter(value)
        elif kind == "wait":
            time.spend(value)
    clock.leave(1)  # in the `finally` of what is around
    time.spend(5)
    assert clock.phase == "outermost"
    assert sum(clock.times().values()) == time.ns
    assert clock.times()["outermost"] == 5


def test_time_goes_to_the_innermost_phase() -> None:
    """Self-time: a phase does not count what is nested in it."""
    time = VirtualClock()
    clock = PhaseClock("other", lambda: time.ns)
    calls = [("enter", "train"), ("enter", "data"), ("leave",), ("leave",), ("claim", "validation")]
    for number, (name, *phase) in enumerate(calls):
        time.spend(2**number)
        getattr(clock, name)(*phase)
    time.spend(32)
    assert clock.take() == {"other": 33, "train": 10, "data": 4, "validation": 16}
    assert clock.times() == {"other": 0}


def test_the_outermost_phase_is_never_left() -> None:
    """One leave too many is an error of the caller's."""
    with pytest.raises(ValueError, match="depth 1 to 0"):
        PhaseClock("other").leave()
