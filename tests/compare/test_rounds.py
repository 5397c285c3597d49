"""Rounds on made-up machines: how often they are wrong, and what they find."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from helpers.compared import Machine, MadeUp, compared, noise

from hpml.compare.answer_of_rounds import phases_of
from hpml.compare.question import METRICS, questions_of
from hpml.compare.rounds import (
    AFTER,
    BEFORE,
    PAIRS,
    SIDES,
    Round,
    Rounds,
    Turn,
    run_round,
    run_rounds,
)
from hpml.compare.turn_length import lengths
from hpml.compare.verdict import SLOWER, UNDECIDED, all_in_all, is_answered
from hpml.system.interference import Interference

STILL = [(0.0, 0.0)] * 16
QUIET = noise("quiet")
# Drift of a slice and likelihood of a burst, of which a witness sees all or nothing.
KINDS = [
    (drift, bursts, sees) for drift in (0.0, 0.0002) for bursts in (0.0, 0.004) for sees in (1, 0)
]


def verdict(rounds: Rounds) -> str:
    return all_in_all(rounds.verdicts)


def undisturbed(step_s: float, **figures: float) -> Turn:
    return Turn({"step": step_s, **figures}, Interference(1.0))


def still() -> Machine:
    machine = Machine(STILL, 0)
    machine.begin_round()
    return machine


def test_no_false_alarm_in_two_hundred_series_of_noise() -> None:
    """Of one program twice at most 1 % are called slower: recorded noise, with drift and bursts."""
    alarms = 0
    for seed in range(200):
        drift, bursts, sees = KINDS[seed % len(KINDS)]
        recorded = noise("busy") if seed % 4 == 1 else QUIET
        rounds = compared(Machine(recorded, seed, bool(sees), drift, bursts), budget_s=220.0)
        alarms += verdict(rounds) == SLOWER
    assert alarms <= 2


def test_five_per_cent_are_found_in_the_phase_that_has_them() -> None:
    """In 19 of 20 comparisons within five minutes, also where bursts are seen and left out."""
    for bursts in (0.0, 0.002):
        every = [
            compared(Machine(QUIET, seed, True, 0.0, bursts), 0.05, "train") for seed in range(20)
        ]
        found = [rounds for rounds in every if verdict(rounds) == SLOWER]
        assert len(found) >= 19
        changed = [[phase.name for phase in phases_of(each) if phase.changed] for each in found]
        assert changed.count(["train"]) >= 19


def test_a_busy_machine_is_undecided_never_wrong() -> None:
    """Where others take most of each turn no round counts, and none is called anything."""
    for slower in (0.0, 0.05):
        for seed in range(4):
            rounds = compared(Machine(noise("busy"), seed), slower, budget_s=100.0)
            assert verdict(rounds) == UNDECIDED
            assert not rounds.counting


def test_it_stops_as_soon_as_it_is_answered() -> None:
    """On a still machine the fewest rounds are enough, well before the budget."""
    rounds = compared(Machine(QUIET, 1), 0.3)
    assert verdict(rounds) == SLOWER
    assert len(rounds.every) == 4
    assert is_answered(rounds.verdicts)


def test_the_budget_ends_what_cannot_be_told() -> None:
    """No round is begun that would go beyond; the first one always is."""
    assert len(compared(Machine(STILL, 1), 0.03, budget_s=60.0).every) == 3
    assert len(compared(Machine(STILL, 1), 0.03, budget_s=1.0).every) == 1


def test_turns_go_to_and_fro() -> None:
    """Neither side is always the second one: before after, after before, and so on."""
    order: list[str] = []

    def started(side: str) -> Any:
        class Named(MadeUp):
            def fit(
                self, slices: int, steps: int, seed: int, core: int
            ) -> Generator[None, None, Turn]:
                fit = super().fit(slices, steps, seed, core)
                next(fit)  # warm
                yield
                for _ in range(slices):
                    order.append(side)
                    next(fit)
                    yield
                return (yield from fit)

        @contextmanager
        def start() -> Any:
            yield Named(still())

        return start

    run_round({side: started(side) for side in SIDES}, 0, 4)
    first, second = order[:2]
    turn = [first, second, second, first] * 2
    pilot = turn[:4] + turn * 2  # two slices of each, then eight
    other = {first: second, second: first}
    assert order == pilot + [*turn, *map(other.get, turn)] * 2


def test_a_disturbed_turn_is_measured_again() -> None:
    """Its pair does not count, and another takes its place; a hopeless round is given up."""
    lost = iter([*[0.0] * 4, 0.5, *[0.0] * 30])  # of the pilot's two turns first

    def start_with(shares: Any) -> Any:
        class Disturbed(MadeUp):
            def fit(
                self, slices: int, steps: int, seed: int, core: int
            ) -> Generator[None, None, Turn]:
                turn = yield from super().fit(slices, steps, seed, core)
                return Turn(turn.figures, Interference(1.0, lost_s={"others": next(shares)}))

        @contextmanager
        def start() -> Any:
            yield Disturbed(still())

        return start

    once = run_round(dict.fromkeys(SIDES, start_with(lost)), 0, 5)
    assert (len(once.pairs), len(once.clean), once.disturbed) == (PAIRS + 1, PAIRS, False)
    always = run_round(dict.fromkeys(SIDES, start_with(iter([0.5] * 99))), 0, 5)
    assert (len(always.pairs), always.disturbed) == (PAIRS, True)
    late = run_round(dict.fromkeys(SIDES, start_with(iter([0.0] * 99))), 0, 5, is_late=lambda: True)
    assert len(late.pairs) == PAIRS / 2


def test_a_ratio_is_the_median_of_pairs() -> None:
    """One pair that sticks out moves nothing; times of a process are one figure."""
    pairs = [{BEFORE: undisturbed(1.0), AFTER: undisturbed(after)} for after in (1.1, 1.1, 1.1, 9)]
    round_ = Round(pairs, {BEFORE: {"memory": 100.0}, AFTER: {"memory": 200.0}})
    assert round_.logarithm(METRICS["step"]) == pytest.approx(0.09531, abs=1e-5)
    assert round_.logarithm(METRICS["memory"]) == pytest.approx(0.69315, abs=1e-5)
    assert round_.logarithm(METRICS["joules"]) is None


def test_a_tiny_phase_cannot_double() -> None:
    """What takes less than a hundredth of a step is compared as if it took that."""
    pair = {BEFORE: undisturbed(1.0, data=1e-5), AFTER: undisturbed(1.0, data=5e-5)}
    round_ = Round([pair] * 2)
    assert round_.logarithm(METRICS["data"]) == 0.0
    assert round_.share("data") == pytest.approx(4e-5)


def test_several_questions_share_the_level() -> None:
    """The interval of each is wider than that of one alone; one slower is enough."""
    one = compared(Machine(QUIET, 3), budget_s=100.0)
    both = Rounds(questions_of("step,data", "3%"), one.every)
    step = METRICS["step"]
    alone, shared = one.ratio(step), both.ratio(step)
    assert alone is not None
    assert shared is not None
    assert shared.half_width > alone.half_width  # type: ignore[operator]
    assert all_in_all(["not slower", "undecided", "slower"]) == "slower"
    assert all_in_all(["not slower", "undecided"]) == "undecided"


def test_progress_names_what_disturbed() -> None:
    """A line a round, with the interval so far."""
    lines: list[str] = []
    rounds = Rounds(questions_of("step", "3%"))
    seen = Interference(1.0, lost_s={"others": 0.5})
    bad = Round([{side: Turn({"step": 1.0}, seen) for side in SIDES}] * 4)
    good = Round([{side: undisturbed(1.0) for side in SIDES}] * 4)
    given = iter([bad, good, good, good, good])
    run_rounds(rounds, lambda number: next(given), 1e9, lines.append)
    assert lines[0].startswith(
        "round 1: a step disturbed, to be repeated: it waited up to 4.0 s of 8.0 s"
    )
    assert lines[-1] == "round 5: a step +0.0 ± 0.7 %; 1 disturbed round so far"


def test_how_long_turns_and_slices_are() -> None:
    """A turn has whole steps of the optimizers; slices are long with workers or on a GPU."""
    told = {"is_continuous": True}

    def found(
        after: dict[str, Any], steps: int | None = None, step_s: float = 0.02
    ) -> tuple[int, int]:
        slices, own = lengths({BEFORE: told, AFTER: told | after}, step_s, steps)
        assert own[BEFORE] == own[AFTER]
        return slices, own[AFTER]

    assert found({}) == (50, 50)
    assert found({"unit": 8}) == (48, 48)
    assert found({}, steps=6) == (6, 6)
    assert found({"is_continuous": False}) == (4, 100)
    assert found({"is_continuous": False, "ahead": 60, "unit": 2}) == (5, 120)
    assert found({}, step_s=2.0) == (4, 4)


class Bursts(MadeUp):
    """Waits for its workers, which load at once, before each first one of their batches."""

    workers: int
    step_s: float
    turns: list[tuple[int, int]]  # slices and steps of each fit

    def first(self) -> dict[str, Any]:
        of_loading = {"is_continuous": False, "unit": self.workers, "ahead": 2 * self.workers}
        return super().first() | of_loading

    def fit(self, slices: int, steps: int, seed: int, core: int) -> Generator[None, None, Turn]:
        self.turns.append((slices, steps))
        yield from super().fit(slices, steps, seed, core)
        waits = sum(place % self.workers == 0 for place in range(3, 3 + steps))
        return undisturbed(self.step_s * self.workers * waits / steps)


@pytest.mark.parametrize(
    ("workers", "step_s"), [((2, 3), 0.02), ((6, 8), 0.3), ((15, 16), 0.3), ((31, 32), 0.3)]
)
def test_sides_of_unlike_workers(workers: tuple[int, int], step_s: float) -> None:
    """Turns have whole bursts of either side's, in short slices, and are not long for that."""
    turns: list[tuple[int, int]] = []

    def started(count: int) -> Any:
        @contextmanager
        def start() -> Any:
            made = Bursts(still())
            made.workers, made.step_s, made.turns = count, step_s, turns
            yield made

        return start

    round_ = run_round(dict(zip(SIDES, map(started, workers), strict=True)), 0, None)
    assert round_.logarithm(METRICS["step"]) == pytest.approx(0.0)
    measured = turns[-2 * PAIRS :]
    assert max(steps for _, steps in turns) <= max(4 * max(workers), 2.1 / step_s)
    assert all(steps / slices * step_s <= 0.6 for slices, steps in measured)
    assert len({slices for slices, _ in measured}) == 1


def test_how_long_turns_are_is_told_by_a_turn() -> None:
    """Not by the first steps, for which both sides start at once; of the slower side."""
    turns: list[int] = []

    def started(step_s: float) -> Any:
        class Timed(MadeUp):
            def first(self) -> dict[str, Any]:
                return super().first() | {"startup": 99.0}

            def fit(
                self, slices: int, steps: int, seed: int, core: int
            ) -> Generator[None, None, Turn]:
                turns.append(steps)
                yield from super().fit(slices, steps, seed, core)
                return undisturbed(step_s)

        @contextmanager
        def start() -> Any:
            yield Timed(still())

        return start

    run_round({BEFORE: started(0.002), AFTER: started(0.01)}, 0, None)
    assert turns == [2, 2, 8, 8] + [100] * 2 * PAIRS
    turns.clear()
    run_round({BEFORE: started(0.002), AFTER: started(0.5)}, 0, None)
    assert turns == [2, 2] + [4] * 2 * PAIRS  # a long step is known by few
