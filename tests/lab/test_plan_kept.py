"""What the lab has announced is what it runs: measured once, kept when killed, told if changed."""

import re
from typing import Any

import pytest
from helpers.lab_parts import HERE, Parts

from hpml.lab import pilot_cache
from hpml.system.signals import RunInterrupted

Capture = pytest.CaptureFixture[str]
BUDGET = ["lab.parts=[c1,c3,c4,c6,c7,q1]", "lab.budget_min=12"]
# What an undisturbed machine takes for each task: as announced.
AS_PLANNED = {"summary": 5.0, "workers": 80.0, "diagnosis": 83.0}


def announced(printed: str) -> list[str]:
    """The lines of a plan."""
    return re.findall(r"^  \w+ .*|^about .* in all .*|^left out: .*", printed, re.MULTILINE)


def trained_lengths(parts: Parts) -> set[str]:
    return {each.rpartition(" ")[2] for each in parts.trained}


def tasks_of(parts: Parts, number: int = -1) -> dict[str, Any]:
    """Those of a plan, as the state keeps them."""
    tasks: dict[str, Any] = parts.state["plans"][number]["tasks"]
    return tasks


def test_a_measurement_is_kept(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """For an hour, for what it depends on: the job, the machine, the versions; not for the name."""
    assert parts.start("lab.dry_run=true") == 0
    assert parts.started == ["pilot cpu"]
    words = ["lab.name=m", "lab.budget_min=30", "lab.seeds=3", "trainer.max_epochs=2", "seed=4"]
    capfd.readouterr()
    assert parts.start("lab.dry_run=true", *words) == 0
    assert parts.started == []
    assert re.match(
        r"a step takes 0.010 s on cpu, as measured at \d\d:\d\d\n", capfd.readouterr().out
    )
    assert parts.start("lab.dry_run=true", "data.batch_size=64") == 0
    assert parts.started == ["pilot cpu"]
    for other in ({"torch": "3.0"}, {"cpu_cores": 64}):
        parts.environment = HERE | other
        assert parts.start("lab.dry_run=true") == 0
        assert parts.started == ["pilot cpu"]
    parts.environment = HERE
    later = pilot_cache.time.time() + pilot_cache.KEPT_S + 1
    monkeypatch.setattr(pilot_cache.time, "time", lambda: later)
    assert parts.start("lab.dry_run=true") == 0
    assert parts.started == ["pilot cpu"]


def test_a_second_refusal_needs_no_measurement(parts: Parts, capfd: Capture) -> None:
    """Nor does one that follows a dry run: it comes at once, from what is known."""
    parts.step_s = 5.0
    for started in (["pilot cpu"], []):
        assert parts.start("lab.parts=[c1,c4]", "lab.budget_min=0.5") == 2
        assert parts.started == started
        assert "too small for any of these parts; give at least 2" in capfd.readouterr().err


def test_a_damaged_measurement_is_none(parts: Parts) -> None:
    """Nor is one of another version; it is measured again."""
    assert parts.start("lab.dry_run=true") == 0
    (file,) = parts.lab.parent.glob(".paces/*.json")
    whole = file.read_text()
    for text in (whole[:50], '{"pilots": {}}', whole.replace('"step_s"', '"step"')):
        file.write_text(text)
        assert parts.start("lab.dry_run=true") == 0
        assert parts.started == ["pilot cpu"]
    assert pilot_cache.pilots_of({"cpu": {"step_s": 1.0}}) == {}


def test_what_a_dry_run_announces_is_run(parts: Parts, capfd: Capture) -> None:
    """To the batch, although it had to measure; the page has it beside what it took."""
    parts.step_s, parts.took_s = 0.5, {"look_at_data": 60.0, **AS_PLANNED}
    assert parts.start(*BUDGET, "lab.dry_run=true") == 0
    plan = announced(capfd.readouterr().out)
    assert parts.start(*BUDGET) == 0
    printed = capfd.readouterr().out
    assert announced(printed) == plan
    (length,) = trained_lengths(parts)
    assert f"shortened: epochs of {length} of 100 batches" in plan[-1]
    assert f"5 trainings of 5 epochs of {length} of 100 batches" in printed
    assert "instead of" not in printed
    tasks = tasks_of(parts)
    assert tasks["workers"]["what"] == "about 5 numbers of workers, at most 10 of 30 quiet rounds"
    assert tasks["workers"]["ran"] == "5 numbers of workers, 5 rounds"  # as the stand-in has them
    assert {name: of["took_s"] for name, of in tasks.items() if name in AS_PLANNED} == {
        **AS_PLANNED,
        "summary": 4 * AS_PLANNED["summary"],
    }
    assert tasks["training"]["ran"].startswith("5 trainings of ")
    assert tasks["all"]["took_s"] == pytest.approx(4 * 5 + 80 + 83)
    assert "| C1, C6: training | 5 trainings of 5 epochs" in parts.report


def test_what_is_measured_now_is_part_of_the_budget(parts: Parts, capfd: Capture) -> None:
    """Without a dry run before: epochs are as much shorter."""
    lengths = []
    for look_s in (0.0, 60.0):
        parts.step_s, parts.took_s = 1.0, {"look_at_data": look_s}
        assert parts.start("lab.parts=[c1]", "lab.budget_min=4", f"lab.name={look_s}") == 0
        lengths += map(int, trained_lengths(parts))
        parts.environment = HERE | {"torch": "3.0"}
    assert lengths[0] - lengths[1] == pytest.approx(60 / 5, abs=1)
    parts.environment = HERE | {"torch": "4.0"}
    parts.took_s = {"look_at_data": 80.0}
    assert parts.start("lab.parts=[c1,q1]", "lab.budget_min=2", "lab.name=m") == 0
    assert "left out: Q1; lab.budget_min=3 is enough for all." in capfd.readouterr().out
    parts.environment, parts.took_s = HERE | {"torch": "5.0"}, {"look_at_data": 110.0}
    assert parts.start("lab.parts=[c1,q1]", "lab.budget_min=2", "lab.name=n") == 2
    assert "; give at least 3 for one of them, 3 for all" in capfd.readouterr().err


def test_what_changes_is_said(parts: Parts, capfd: Capture) -> None:
    """Once, with the reason, when it happens, and on the page; never is it longer."""
    parts.step_s = 0.5
    parts.took_s = AS_PLANNED | {"diagnosis": 240.0}  # as beside other programs
    words = ["lab.parts=[c1,c4,c6,c7,q1]", "lab.budget_min=12"]
    assert parts.start(*words) == 0
    printed = capfd.readouterr().out
    (length,) = trained_lengths(parts)
    before = re.findall(r"5 epochs of (\d+) of 100 batches", printed)[0]
    assert int(length) < int(before)
    change = f"epochs of {length} instead of {before} of 100 batches: of lab.budget_min=12 about "
    assert printed.count(change) == 1
    assert printed.index(change) < printed.index("C1, C6: ")
    assert f"E{change[1:]}" in re.sub(r"\\(.)", r"\1", parts.report)
    parts.took_s = dict.fromkeys(AS_PLANNED, 0.0)
    assert parts.start(*words, "lab.name=m") == 0
    assert trained_lengths(parts) == {before}


def test_what_does_not_fit_is_left_out(parts: Parts, capfd: Capture) -> None:
    """A budget slightly too small is taken as far as it goes; the command printed does the rest."""
    words = ["lab.parts=[c1,c3,c4,q1]", "lab.budget_min=2"]
    assert parts.start(*words) == 0
    assert parts.started == ["pilot cpu", *SUMMARIES, "workers", "training"]
    command = "python -m hpml.lab data=synthetic lab.name=l 'lab.parts=[c4]'"
    said = f"left out: C4; lab.budget_min=3 is enough for all. To run them: {command}\n"
    assert said in capfd.readouterr().out
    report = re.sub(r"\\(.)", r"\1", parts.report)
    assert f"Left out of 2 minutes. To run it: {command}\n" in report
    assert "Left out of 2 minutes: C4; 3 minutes are enough for all." in report
    assert parts.start("lab.parts=[c4]") == 0
    assert parts.started == ["diagnosis"]
    assert "Left out of 2 minutes. To run it" not in re.sub(r"\\(.)", r"\1", parts.report)
    assert parts.start(*words) == 0
    assert parts.started == []


SUMMARIES = [f"summary-{name}" for name in ("sgd", "adam", "no_norm_sgd", "no_norm_adam")]


@pytest.mark.parametrize("part", ["summary-no_norm_sgd", "workers", "no_norm"])
def test_a_plan_outlives_its_start(parts: Parts, capfd: Capture, part: str) -> None:
    """Ended in any part, the same command goes on by the same plan, whatever a step takes now."""
    parts.step_s = 0.5
    parts.ends[part] = RunInterrupted(9)
    assert parts.start(*BUDGET) != 0
    (limit,) = re.findall(r"shortened: epochs of (\d+) of", capfd.readouterr().out)
    begun = [name for name in parts.started if name != part]
    parts.ends.clear()
    for file in parts.lab.parent.glob(".paces/*.json"):
        file.unlink()
    parts.step_s = 3.0
    assert parts.start(*BUDGET) == 0
    assert not {*parts.started} & {*begun}
    assert trained_lengths(parts) == {limit}
    assert len(parts.state["plans"]) == 1
    assert tasks_of(parts)[part.partition("-")[0]]["starts"] > 1


def test_other_words_make_another_plan(parts: Parts) -> None:
    """Other parts, seeds or minutes; each plan is listed with what it took."""
    parts.ends["workers"] = RunInterrupted(9)
    assert parts.start(*BUDGET) != 0
    parts.ends.clear()
    assert parts.start(BUDGET[0], "lab.budget_min=40") == 0
    assert [plan["asked"]["budget_min"] for plan in parts.state["plans"]] == [12, 40]
    assert trained_lengths(parts) == {"None"}
    assert parts.start(BUDGET[0]) == 0  # nothing is left
    assert len(parts.state["plans"]) == 2
