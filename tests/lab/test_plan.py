"""How long the lab takes, and what a budget makes of it: arithmetic on made pilots."""

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpml.errors import UserError
from hpml.lab import plan as lab_plan
from hpml.lab.pilot import Pilot
from hpml.lab.plan import COMMAND_S, FEWEST_BATCHES, SUMMARY_S, Plan, usable_s

TASKS = {"summary", "workers", "diagnosis", "training"}


def made_pilot(step_s: float = 0.1, around_s: float = 8.0, steps: int = 391) -> Pilot:
    return Pilot(step_s, around_s, 1.0, 4 * step_s, steps, {})


def made_plan(**changes: Any) -> Plan:
    """Five optimizers and C7, on one device."""
    fields: dict[str, Any] = {"has": TASKS, "trainings": [("cpu", 5), ("cpu", 1)]}
    fields |= {"pilots": {"cpu": made_pilot()}, "epochs": 5, "counts": 4, "rounds": 5}
    return Plan(**fields | {"seconds": 4.5, "search_s": 600.0, "diagnosis_s": 40.0} | changes)


def test_all_tasks_add_up() -> None:
    """Each by itself, nothing twice; as uncertain as the pilot's steps; a training has its disk."""
    plan = made_plan()
    assert plan.of("training") == pytest.approx(6 * (8 + COMMAND_S + 5 * 391 * 0.1))
    assert plan.of("summary") == 3 * SUMMARY_S
    assert plan.of("diagnosis") == COMMAND_S + 2 * (40 + 1)
    assert plan.of("workers") == pytest.approx(COMMAND_S + 1 + 4 * 5 * 2 * 4.5)
    assert plan.seconds_in_all == pytest.approx(sum(map(plan.of, TASKS)))
    assert plan.jobs == 6
    # of steps longer than a measurement a few are waited for; it ends when its time is over
    slow = made_plan(pilots={"cpu": made_pilot(step_s=5.0)})
    assert slow.of("workers") == pytest.approx(COMMAND_S + 1 + 600)
    late = made_plan(pilots={"cpu": made_pilot(step_s=5.0)}, search_s=60.0)  # two rounds at least
    assert late.of("workers") == pytest.approx(COMMAND_S + 1 + 4 * 2 * 2 * 4 * 5)
    assert slow.of("diagnosis") == COMMAND_S + 2 * (lab_plan.DIAGNOSIS_STEPS * 5.0 + 1)
    uneven = made_plan(pilots={"cpu": dataclasses.replace(made_pilot(), spread=0.2)})
    assert [*uneven.lines()][-1] == "about 26 min in all (21 min to 31 min), 3.9 MB of disk"
    short = made_plan(done=TASKS - {"summary"}, trainings=[])
    assert [*short.lines()][-1] == "about 45 s in all (40 s to 50 s), 3 MB of disk"


def test_each_device_takes_its_own_time() -> None:
    """The first one searches and diagnoses; an epoch is as many batches on all of them."""
    pilots = {"gpu": made_pilot(0.01), "cpu": made_pilot(1.0)}
    plan = made_plan(trainings=[("gpu", 5), ("cpu", 1)], pilots=pilots)
    on_gpu, on_cpu = 8 + COMMAND_S + 5 * 391 * 0.01, 8 + COMMAND_S + 5 * 391 * 1.0
    assert plan.of("training") == pytest.approx(5 * on_gpu + on_cpu)
    assert plan.of("diagnosis") == made_plan(pilots={"gpu": pilots["gpu"]}).of("diagnosis")
    plan.fit(20)
    assert plan.limit is not None
    assert plan.seconds_in_all <= usable_s(20) == pytest.approx(20 * 60 * (1 - lab_plan.RESERVE))


def test_what_is_done_or_not_asked_for_takes_nothing() -> None:
    """Also in what is printed."""
    assert made_plan(done=TASKS, trainings=[]).seconds_in_all == 0
    assert made_plan(has={"summary"}, trainings=[]).seconds_in_all == 3 * SUMMARY_S
    plan = made_plan(done={"workers", "diagnosis"})
    assert plan.seconds_in_all == plan.of("summary") + plan.of("training")
    lines = "\n".join(plan.lines())
    assert re.search("workers +done\n", lines)
    assert re.search(r"training +6 trainings of 5 epochs of 391 batches +about 21 min\n", lines)
    done = made_plan(has={"summary"}, done={"summary"}, trainings=[]).lines()
    assert list(done) == [f"  {'summary':<10} {'':<46} done", "all of it is done"]


def test_epochs_are_shortened_until_all_fits() -> None:
    """By no more than has to be, and by nothing in a large budget."""
    plan = made_plan()
    plan.fit(60)
    assert plan == made_plan()
    assert "shortened" not in "".join(plan.lines())
    plan.fit(15)
    assert plan.limit is not None
    assert plan.seconds_in_all <= usable_s(15)
    one_more = dataclasses.replace(plan, limit=plan.limit + 1)
    assert one_more.seconds_in_all > usable_s(15)
    length = f"{plan.limit} of 391 batches"
    assert sum(length in line for line in plan.lines()) == 2
    assert f"; shortened: epochs of {length}" in [*plan.lines()][-1]


def test_the_search_gets_fewer_rounds_where_it_would_take_too_much() -> None:
    """Three, then two; never one, which tells nothing."""
    rounds = {}
    for budget_min in (60, 10, 7, 6):
        plan = made_plan()
        plan.fit(budget_min)
        rounds[budget_min] = plan.rounds
        if plan.rounds > 2:
            assert plan.of("workers") <= lab_plan.WORKERS_SHARE * usable_s(budget_min)
    assert rounds == {60: 5, 10: 3, 7: 2, 6: 2}
    assert "2 of 5 rounds" in [*plan.lines()][1]
    few = made_plan(rounds=1)
    few.fit(6)
    assert few.rounds == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "6 trainings here, even with epochs of 2 batches"),
        ({"pilots": {"cpu": made_pilot(steps=1)}}, ".* epochs of 1 batch"),
        ({"has": {"workers"}, "trainings": []}, "these parts"),
    ],
)
def test_too_small_a_budget_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    """It names one that fits, and then does; a minute less does not."""
    whole = rf"lab.budget_min=0.5: too small for {message}; give at least \d+, or fewer lab.parts"
    with pytest.raises(UserError, match=whole) as refused:
        made_plan(**changes).fit(0.5)
    (least,) = re.findall(r"at least (\d+),", str(refused.value))
    plan = made_plan(**changes)
    plan.fit(int(least))
    assert plan.seconds_in_all <= usable_s(int(least))
    with pytest.raises(UserError):
        made_plan(**changes).fit(int(least) - 1)


SECONDS = st.floats(0.001, 1000)


@given(
    pilot=st.builds(made_pilot, SECONDS, SECONDS, st.integers(1, 10_000)),
    trainings=st.integers(0, 40),
    budget_min=st.floats(0.01, 10_000),
    has=st.sets(st.sampled_from(sorted(TASKS)), min_size=1),
    sizes=st.fixed_dictionaries({"epochs": st.integers(1, 20), "rounds": st.integers(1, 9)}),
)
def test_any_plan_fits_its_budget_or_names_one_that_it_fits(
    pilot: Pilot, trainings: int, budget_min: float, has: set[str], sizes: dict[str, int]
) -> None:
    """Whatever the machine and the parts are."""
    of_cpu = [("cpu", trainings)] if "training" in has and trainings else []

    def fitted(minutes: float) -> Plan:
        plan = made_plan(has=has, pilots={"cpu": pilot}, trainings=of_cpu, **sizes)
        plan.fit(minutes)
        assert plan.seconds_in_all <= usable_s(minutes) * (1 + 1e-9)
        assert plan.limit is None or FEWEST_BATCHES <= plan.limit < pilot.epoch_steps
        return plan

    try:
        plan = fitted(budget_min)
    except UserError as error:
        (least,) = re.findall(r"at least (\d+),", str(error))
        assert int(least) >= budget_min
        plan = fitted(int(least))
    assert all("\n" not in line for line in plan.lines())


def test_trainings_are_fitted_again() -> None:
    """To what search and diagnosis leave, with two batches at least; a decided length stays."""
    plan = made_plan(done={"summary", "workers", "diagnosis"})
    for left_s, limits in ((300, range(3, 391)), (-5, [FEWEST_BATCHES]), (10_000, [None])):
        plan.fit_trainings(left_s)
        assert plan.limit in limits
        assert plan.of("training") <= left_s or left_s < 0
    for limit in (7, None):
        plan = made_plan(limit=limit, is_fixed=True)
        plan.fit(6)
        plan.fit_trainings(1)
        assert (plan.limit, plan.rounds) == (limit, 2)
