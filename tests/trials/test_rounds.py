"""The engine of short fits: candidates in interleaved rounds, until a rule is satisfied."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.delays import VirtualClock
from helpers.stopping import after_rounds

from hpml.system.interference import Interference
from hpml.system.kernel_readings import TICKS, Witness
from hpml.trials.interference_watch import watched
from hpml.trials.rounds import Measurements, run_round, run_rounds, within

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
    assert measured.fastest_of("ab", float) == "a"
    assert measured.tied_among("ab", float, least_gain=0.02) == ["a"]
    assert measured.tied_among("ab", float, least_gain=9.0) == ["a", "b"]
    gain = measured.gain("b", "a", float, 0.05)
    assert gain is not None
    assert (gain.n, gain.mean) == (5, pytest.approx(math.log(3), abs=0.02))
    assert gain.low > math.log(2.5)


def test_the_fastest_is_so_in_rounds_in_common() -> None:
    """Also where a slower one had its rounds before the machine grew busy."""
    measured = Measurements[str, float]()
    for number, busy in enumerate((1, 1, 1, 5, 5, 5)):
        for name, seconds in (("a", 1.2), ("b", 1.1), ("c", 1.0)):
            if busy == 1 or name != "a":
                measured.add(name, number, busy * seconds)
    assert measured.fastest_of("abc", float) == "c"
    assert Measurements({"a": {0: 1.0}, "b": {1: 2.0}}).fastest_of("ab", float) == "a"


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
    assert measured.failures.keys() == {"b"}
    assert measured.failures["b"].startswith("ValueError: needs it in fails (test_rounds.py:")
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


def lost(share: float) -> Interference:
    return Interference(10.0, 10 * share, lost_s={"others": 10 * share})


def disturbing(shares: dict[int, float]) -> Any:
    """What others take from the measurements of each round; else nothing."""
    rounds = iter(range(99))

    def watch(measure: Callable[[], float]) -> tuple[float, Interference]:
        share = shares.get(next(rounds), 0.0)
        return measure() + 10 * share, lost(share)

    return watch


def test_disturbed_rounds_are_measured_again_and_left_out() -> None:
    """As many as the rule allows; what counts is as if they had not been."""
    watch = disturbing({1: 0.3, 2: 0.04, 3: 0.5})
    measured = run_rounds(candidates([], a=1.0), after_rounds(5, again=5), watch=watch)
    assert measured.disturbed.keys() == {1, 3}
    assert list(measured.kept("a")) == [0, 2, 4, 5, 6]
    assert measured.estimate("a", float).n == 5
    assert measured.notes == [
        "2 of 7 rounds were disturbed and left out: one of them waited up to 5.0 s of 10.0 s "
        "for a core that other programs had"
    ]
    seen = measured.taken_from("a")
    assert seen is not None
    assert seen.share == pytest.approx(0.04 / 5)
    watch = disturbing({1: 0.3, 3: 0.5})
    once = run_rounds(candidates([], a=1.0), after_rounds(5, again=1), watch=watch)
    assert once.next_round == 6
    assert run_rounds(candidates([], a=1.0), after_rounds(2), watch=disturbing({})).notes == []


def test_where_all_are_disturbed_the_least_disturbed_count() -> None:
    """Half of them, or three, and it is said."""
    watch = disturbing({number: 0.9 - number / 10 for number in range(8)})
    measured = run_rounds(candidates([], a=1.0), after_rounds(4, again=4), watch=watch)
    assert list(measured.kept("a")) == [4, 5, 6, 7]
    assert measured.notes[0].startswith(
        "all 8 rounds were disturbed; the worst are left out (4): one of them waited up to 9.0 s of"
    )
    few = disturbing(dict.fromkeys(range(4), 0.3))
    measured = run_rounds(candidates([], a=1.0), after_rounds(4), watch=few)
    assert len(measured.kept("a")) == 3
    once = run_rounds(candidates([], a=1.0), after_rounds(1), watch=disturbing({0: 0.2}))
    assert once.notes[0].startswith("the only round was disturbed; none is left out: ")


def test_what_was_measured_in_few_rounds_stays_comparable() -> None:
    """A candidate of later rounds keeps some, which an earlier one keeps too."""
    every = candidates([], a=1.0, b=2.0)
    measured = run_rounds({"a": every["a"]}, after_rounds(3))
    watch = disturbing(dict.fromkeys(range(4), 0.3))
    run_rounds(every, after_rounds(5), measured=measured, watch=watch)
    assert len(measured.kept("b")) == 2
    assert measured.saved("b", "a", float).mean == pytest.approx(1.0)


def test_a_budget_is_for_rounds_that_were_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And for more of them until it is enough; the clock and a limit end it."""
    clock = VirtualClock().install(monkeypatch)
    every = {"a": lambda number: clock.spend(S)}
    quiet = lambda share: lambda measure: (measure(), lost(share))  # noqa: E731
    assert run_rounds(every, within(20.5, 2, 3), watch=quiet(0.5)).rounds == 9
    assert run_rounds(every, within(5.5, 2, 3), watch=quiet(0.5)).rounds == 6
    enough = lambda measured: measured.rounds > 6  # noqa: E731
    assert run_rounds(every, within(20.5, 2, 3, enough), watch=quiet(0.0)).rounds == 7


def test_a_witness_is_read_around_each_measurement(tmp_path: Path) -> None:
    """What the workers waited counts by the part of the time that was waited for them."""
    stat = "cpu0 {} 0 0 0 0 0 0 0 0 0\n"
    task = tmp_path / "7" / "task" / "7"
    task.mkdir(parents=True)
    (tmp_path / "7" / "stat").write_text("7 (p) S " + " ".join(["0"] * 30))

    def tells(waited_s: int, busy_s: int) -> None:
        (task / "schedstat").write_text(f"0 {waited_s * S} 0")
        (tmp_path / "stat").write_text(stat.format(busy_s * TICKS))

    tells(1, 1)
    watch = watched(Witness(proc=tmp_path, groups=tmp_path, pid=7), lambda measurement: 0.0)
    _, seen = watch(lambda: tells(3, 9))
    assert seen is not None
    assert (seen.main_waited_s, seen.others_cpu_s) == (2, 8)
