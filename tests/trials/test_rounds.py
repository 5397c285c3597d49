"""The engine of short fits: candidates in interleaved rounds, until a rule is satisfied."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from helpers.delays import VirtualClock

from hpml.trials.rounds import Measurements, after_rounds, run_round, run_rounds, within

S = 1_000_000_000


def candidates(calls: list[Any], **seconds: float) -> dict[str, Callable[[int], float]]:
    """Each measures its seconds, and a hundredth more in each round."""

    def measure(name: str, number: int) -> float:
        calls.append((name, number))
        return seconds[name] + number / 100

    return {name: partial(measure, name) for name in seconds}


def test_each_once_a_round_and_further_rounds_of_some() -> None:
    """All of them before any again; what there is already is added to."""
    calls: list[Any] = []
    every = candidates(calls, a=1.0, b=2.0)
    measured = run_rounds(every, after_rounds(2), lambda *each: calls.append(each))
    assert calls[:4] == [("a", 0), ("a", 0, 1.0), ("b", 0), ("b", 0, 2.0)]
    run_rounds({"b": every["b"]}, after_rounds(3), measured=measured)
    numbers = {name: list(rounds) for name, rounds in measured.by_name.items()}
    assert numbers == {"a": [0, 1], "b": [0, 1, 2]}
    assert (measured.rounds, measured.next_round) == (2, 3)


def test_differences_are_taken_within_rounds() -> None:
    """Which all candidates share, however much the rounds differ."""
    measured = run_rounds(candidates([], a=1.0, b=3.0), after_rounds(5))
    saved = measured.saved("b", "a", float)
    assert (saved.mean, saved.half_width) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-9))
    assert measured.fastest_in(float) == "a"
    assert measured.tied_in(float, least_gain=0.02) == ["a"]
    assert measured.tied_in(float, least_gain=9.0) == ["a", "b"]


@pytest.mark.parametrize(("budget_s", "rounds"), [(0.5, 2), (2.5, 3), (99.0, 5)])
def test_a_budget_of_time(budget_s: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A least and a most number of rounds, be there less or more time."""
    clock = VirtualClock().install(monkeypatch)
    stop = within(budget_s, least=2, most=5)
    assert run_rounds({"a": lambda number: clock.spend(S)}, stop).rounds == rounds


def test_a_candidate_that_fails() -> None:
    """It is dropped with its reason, and the others go on; one that has to work is raised."""

    def fails(number: int) -> float:
        if number:
            raise ValueError("needs it\nbadly")
        return 0.0

    every = {**candidates([], a=1.0), "b": fails}
    measured = run_rounds(every, after_rounds(3), optional=["b"])
    assert measured.failures == {"b": "ValueError: needs it"}
    assert (measured.by_name.keys(), measured.rounds) == ({"a"}, 3)
    with pytest.raises(ValueError, match="needs it"):
        run_rounds(every, after_rounds(3))


def test_a_round_that_is_enough() -> None:
    """No further candidate is asked for, not even made."""
    measured: Measurements[str, float] = Measurements()
    every = iter(candidates([], a=1.0, b=2.0, c=3.0).items())
    enough = lambda measured: "b" in measured.by_name  # noqa: E731
    assert run_round(every, measured, 0, enough=enough) == ["a", "b"]
    assert next(every)[0] == "c"
