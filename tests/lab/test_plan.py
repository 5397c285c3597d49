"""How long the lab takes, and what a budget makes of it: arithmetic on made pilots."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpml.errors import UserError
from hpml.lab import plan as lab_plan
from hpml.lab.pilot import Pilot
from hpml.lab.plan import (
    COMMAND_S,
    FEWEST_BATCHES,
    REPORT_S,
    SUMMARY_S,
    Plan,
    parts_within,
    usable_s,
)

TASKS = frozenset({"summary", "workers", "diagnosis", "training", "no_norm"})
TRAININGS = (("training", "cpu", 5), ("no_norm", "cpu", 1))


def made_pilot(step_s: float = 0.1, around_s: float = 8.0, steps: int = 391) -> Pilot:
    return Pilot(step_s, around_s, 1.0, 4 * step_s, steps, {}, start_s=3.0)


def made_plan(**changes: Any) -> Plan:
    """Five optimizers and C7, on one device."""
    fields: dict[str, Any] = {"has": TASKS, "trainings": TRAININGS, "epochs": 5, "counts": 4}
    fields |= {"pilots": {"cpu": made_pilot()}, "rounds": 5, "seconds": 4.5, "search_s": 600.0}
    fields |= {"diagnosis_s": 40.0, "short_search_s": 600.0}
    fields |= changes
    return Plan(**{"all_rounds": fields["rounds"]} | fields)


def fitted(plan: Plan, budget_min: float) -> Plan:
    return plan.fitted(usable_s(budget_min))


def test_all_tasks_add_up() -> None:
    """Each by itself, nothing twice; as uncertain as the pilot's steps; a training has its disk."""
    plan = made_plan()
    assert plan.of("training") == pytest.approx(5 * (8 + COMMAND_S + 5 * 391 * 0.1))
    assert plan.of("no_norm") == pytest.approx(8 + COMMAND_S + 5 * 391 * 0.1)
    assert plan.of("devices") == 0
    assert plan.of("summary") == 4 * SUMMARY_S
    assert plan.of("report") == REPORT_S + 3
    assert plan.of("diagnosis") == COMMAND_S + 3 + 2 * (40 + 1)
    assert plan.of("workers") == pytest.approx(COMMAND_S + 3 + 1 + 5 * 9 * 4.5)
    assert plan.seconds_in_all == pytest.approx(sum(map(plan.of, [*TASKS, "report"])))
    assert plan.jobs == 6
    # of steps longer than a measurement a few are waited for; it ends when its time is over
    slow = made_plan(pilots={"cpu": made_pilot(step_s=5.0)})
    assert slow.of("workers") == pytest.approx(COMMAND_S + 3 + 1 + 600)
    late = made_plan(pilots={"cpu": made_pilot(step_s=5.0)}, search_s=60.0)  # two rounds at least
    assert late.of("workers") == pytest.approx(COMMAND_S + 3 + 1 + 2 * 9 * 4 * 5)
    assert slow.of("diagnosis") == COMMAND_S + 3 + 2 * (lab_plan.DIAGNOSIS_STEPS * 5.0 + 1)
    uneven = made_plan(pilots={"cpu": dataclasses.replace(made_pilot(), spread=0.2)})
    assert [*uneven.lines()][-1] == "about 26 min in all (21 min to 31 min), 3.9 MB of disk"
    short = made_plan(done=TASKS - {"summary"}, trainings=(), pilots={})
    assert [*short.lines()][-1] == "about 30 s in all (25 s to 30 s), 3 MB of disk"


def test_each_device_takes_its_own_time() -> None:
    """The first one searches and diagnoses; an epoch is as many batches on all of them."""
    pilots = {"gpu": made_pilot(0.01), "cpu": made_pilot(1.0)}
    trainings = (("training", "gpu", 5), ("devices", "cpu", 1))
    plan = made_plan(has=TASKS | {"devices"}, trainings=trainings, pilots=pilots)
    assert plan.of("training") == pytest.approx(5 * (8 + COMMAND_S + 5 * 391 * 0.01))
    assert plan.of("devices") == pytest.approx(8 + COMMAND_S + 5 * 391 * 1.0)
    assert plan.of("diagnosis") == made_plan(pilots={"gpu": pilots["gpu"]}).of("diagnosis")
    short = fitted(plan, 20)
    assert short.limit is not None
    assert short.seconds_in_all <= usable_s(20) == pytest.approx(20 * 60 * (1 - lab_plan.RESERVE))


def test_what_is_done_or_not_asked_for_takes_nothing() -> None:
    """Also in what is printed, and in what is announced."""
    assert made_plan(done=TASKS, trainings=()).seconds_in_all == 0
    counting = made_plan(has=frozenset({"summary"}), trainings=())
    assert [each.task for each in counting.left] == ["summary", "report"]
    plan = made_plan(done=frozenset({"workers", "diagnosis"}))
    left = ["summary", "training", "no_norm", "report"]
    assert [each.task for each in plan.left] == left
    assert plan.seconds_in_all == pytest.approx(sum(map(plan.of, left)))
    assert [each.jobs for each in plan.left] == [0, 5, 1, 0]
    lines = "\n".join(plan.lines())
    assert re.search("workers +done\n", lines)
    assert re.search(r"training +5 trainings of 5 epochs of 391 batches +about 17 min\n", lines)
    assert all(each.what in lines for each in plan.left)
    summary = frozenset({"summary"})
    done = made_plan(has=summary, done=summary, trainings=()).lines()
    assert list(done) == ["  summary    done", "all of it is done"]
    assert list(made_plan(has=frozenset(), trainings=()).lines()) == ["nothing is to be done"]


def test_epochs_are_shortened_until_all_fits() -> None:
    """By no more than has to be, and by nothing in a large budget."""
    plan = made_plan()
    assert fitted(plan, 60) == plan
    assert "shortened" not in "".join(plan.lines())
    plan = fitted(plan, 15)
    assert plan.limit is not None
    assert plan.seconds_in_all <= usable_s(15)
    one_more = dataclasses.replace(plan, limit=plan.limit + 1)
    assert one_more.seconds_in_all > usable_s(15)
    length = f"{plan.limit} of 391 batches"
    assert sum(length in line for line in plan.lines()) == 3
    assert f"; shortened: epochs of {length}" in [*plan.lines()][-1]


def test_the_search_gets_fewer_rounds_where_it_would_take_too_much() -> None:
    """Three, then two; never one, which tells nothing."""
    rounds = {}
    for budget_min in (60, 10, 7, 6):
        plan = fitted(made_plan(), budget_min)
        rounds[budget_min] = plan.rounds
        if plan.rounds > 2:
            assert plan.of("workers") <= lab_plan.WORKERS_SHARE * usable_s(budget_min)
    assert rounds == {60: 5, 10: 3, 7: 2, 6: 2}
    assert "about 4 numbers of workers, at most 2 of 5 quiet rounds " in [*plan.lines()][1]
    assert fitted(made_plan(rounds=1), 6).rounds == 1


def test_a_search_with_fewer_rounds_has_less_time_too() -> None:
    """All of them where a quarter of the budget does for what they may take; else ten."""
    plan = made_plan(rounds=30, seconds=2.0, search_s=180.0, short_search_s=60.0)
    plans = {minutes: fitted(plan, minutes) for minutes in (30, 10)}
    assert {minutes: plan.rounds for minutes, plan in plans.items()} == {30: 30, 10: 10}
    around_s = COMMAND_S + 3 + 1
    assert plans[30].of("workers") == pytest.approx(around_s + 180)
    assert plans[10].of("workers") == pytest.approx(around_s + 60)


COSTS = {"q1": ("summary", 0), "c1": ("training", 1), "c3": ("workers", 0), "c4": ("diagnosis", 0)}
COSTS |= {"c6": ("training", 5), "c7": ("no_norm", 1)}


def plan_of(parts: Sequence[str], **changes: Any) -> Plan:
    """The plan of some parts; C6 holds C1's training."""
    numbers: dict[str, int] = {}
    for name, number in (COSTS[part] for part in parts):
        numbers[name] = max(numbers.get(name, 0), number)
    trainings = tuple((name, "cpu", number) for name, number in numbers.items() if number)
    return made_plan(has=frozenset(numbers), trainings=trainings, **changes)


@pytest.mark.parametrize(
    ("budget_min", "expected"),
    [
        *((0.5, "c1"), (1, "q1 c1 c7"), (2, "q1 c1 c6 c7"), (4, "q1 c1 c3 c6 c7")),
        *((5, "q1 c1 c3 c4 c6 c7"), (6, "q1 c1 c3 c4 c6 c7")),
    ],
)
def test_a_small_budget_is_taken_as_far_as_it_goes(budget_min: float, expected: str) -> None:
    """As many parts as fit, the cheapest first, in the order given; less where some is spent."""
    parts = ["q1", "c1", "c3", "c4", "c6", "c7"]
    kept = parts_within(budget_min, parts, plan_of, spent_s=0)
    assert " ".join(kept) == expected
    assert fitted(plan_of(kept), budget_min).seconds_in_all <= usable_s(budget_min)
    fewer = parts_within(budget_min + 0.25, parts, plan_of, spent_s=0.25 * 60 * 0.95)
    assert fewer == kept


def test_no_part_fits() -> None:
    """One line names what is enough for one part, and for all; and then it is."""
    with pytest.raises(UserError) as refused:
        parts_within(0.1, ["c3", "c4"], plan_of, spent_s=0)
    said = r"lab.budget_min=0.1: too small for any of these parts; give at least (\d+) for one of"
    (one, every) = re.findall(rf"{said} them, (\d+) for all", str(refused.value))[0]
    assert parts_within(int(one), ["c3", "c4"], plan_of, spent_s=0) == ["c3"]
    assert parts_within(int(every), ["c3", "c4"], plan_of, spent_s=0) == ["c3", "c4"]
    assert parts_within(int(every) - 1, ["c3", "c4"], plan_of, spent_s=0) == ["c3"]
    with pytest.raises(UserError, match=r"too small for c4; give at least 2$"):
        parts_within(0.1, ["c4"], plan_of, spent_s=0)


SECONDS = st.floats(0.001, 1000)


@given(
    pilot=st.builds(made_pilot, SECONDS, SECONDS, st.integers(1, 10_000)),
    budget_min=st.floats(0.01, 10_000),
    parts=st.lists(st.sampled_from(sorted(COSTS)), min_size=1, unique=True),
    sizes=st.fixed_dictionaries({"epochs": st.integers(1, 20), "rounds": st.integers(1, 9)}),
)
def test_any_plan_fits_its_budget_or_names_one_that_it_fits(
    pilot: Pilot, budget_min: float, parts: list[str], sizes: dict[str, int]
) -> None:
    """Whatever the machine and the parts are."""

    def of(parts: Sequence[str]) -> Plan:
        return plan_of(parts, pilots={"cpu": pilot}, **sizes)

    def kept_in(minutes: float) -> list[str]:
        kept = parts_within(minutes, parts, of, spent_s=0)
        plan = fitted(of(kept), minutes)
        assert plan.seconds_in_all <= usable_s(minutes) * (1 + 1e-9)
        assert plan.limit is None or FEWEST_BATCHES <= plan.limit < pilot.epoch_steps
        assert all("\n" not in line for line in plan.lines())
        return kept

    try:
        kept_in(budget_min)
    except UserError as error:
        least = int(re.findall(r"at least (\d+)", str(error))[0])
        assert least >= budget_min
        assert kept_in(least)


def test_trainings_are_only_ever_shortened() -> None:
    """To what search and diagnosis leave, with two batches at least; a decided length stays."""
    plan = made_plan(done=frozenset({"summary", "workers", "diagnosis"}))
    for left_s, limits in ((300, range(3, 391)), (-5, [FEWEST_BATCHES]), (10_000, [None])):
        short = plan.with_trainings_in(left_s)
        assert short.limit in limits
        assert short.trainings_s <= left_s or left_s < 0
    announced = dataclasses.replace(plan, limit=7)
    assert announced.with_trainings_in(10_000) == announced
    assert announced.with_trainings_in(1).limit == FEWEST_BATCHES
    for limit in (7, None):
        fixed = made_plan(limit=limit, is_fixed=True)
        assert (fitted(fixed, 6).limit, fitted(fixed, 6).rounds) == (limit, 2)
        assert fixed.with_trainings_in(1) == fixed
