"""What was announced, beside what was run."""

import json
from pathlib import Path
from typing import Any

import pytest

from hpml.lab.report.machine import Machine
from hpml.lab.report.planned_and_actual import announced_sentences, announced_tables
from hpml.lab.tasks import LAB_FILE


def planned(**changes: Any) -> dict[str, Any]:
    """A plan as the state keeps it, carried out."""
    training = {"what": "5 trainings of 5 epochs of 9 of 16 batches", "seconds": 61.6, "jobs": 5}
    training |= {"ran": "5 trainings of 5 epochs of 9 batches", "took_s": 58.4}
    tasks = {"training": training | {"starts": 1, "ends": 1}, "all": {"took_s": 90.0}}
    plan = {"asked": {"budget_min": 2, "parts": ["c1", "c6", "c7"]}, "parts": ["c1", "c6"]}
    plan |= {"left_out": {"parts": [], "least_min": 0}, "seconds": 100.0, "tasks": tasks}
    return plan | changes


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return machine_with(tmp_path, planned())


def machine_with(folder: Path, *plans: dict[str, Any]) -> Machine:
    (folder / LAB_FILE).write_text(json.dumps({"plans": plans}))
    return Machine(folder, folder)


def rows_of(machine: Machine) -> list[list[str]]:
    ((table, _),) = announced_tables([machine])
    return [[cell.text for cell in row] for row in table.rows]


def test_a_row_for_each_task(machine: Machine) -> None:
    """With its parts, both lengths and both times; last all of it."""
    lengths = ["5 trainings of 5 epochs of 9 of 16 batches", "5 trainings of 5 epochs of 9 batches"]
    assert rows_of(machine) == [
        ["C1, C6: training", *lengths, "62", "58"],
        ["all, with start, measuring and report", "within 2 min", "", "100", "90"],
    ]
    assert announced_sentences([machine]) == []


def test_what_was_killed_took_longer(tmp_path: Path) -> None:
    """It started more often than it ended; where it never ended, nothing else is known."""
    tasks: dict[str, Any] = {"workers": {"what": "w", "seconds": 9.0, "starts": 1}}
    tasks["diagnosis"] = {"what": "d", "seconds": 9.0, "starts": 2, "ends": 1, "took_s": 7.0}
    machine = machine_with(tmp_path, planned(tasks=tasks, parts=["c3", "c4"]))
    assert [row[-1] for row in rows_of(machine)] == ["> 0", "> 7", "> 0"]
    ((_, caption),) = announced_tables([machine])
    assert "> of one that was killed" in caption


def test_what_changed_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    """Of each plan; a lab of an earlier version has none."""
    left_out = {"parts": ["c7"], "least_min": 3}
    first = planned(changes=["epochs of 2 instead of 9 of 16 batches: because"], left_out=left_out)
    machine = machine_with(tmp_path, first, planned())
    assert announced_sentences([machine]) == [
        "Epochs of 2 instead of 9 of 16 batches: because.",
        "Left out of 2 minutes: C7; 3 minutes are enough for all.",
    ]
    assert machine.left_out_of("c7") is None  # the last plan had it
    assert machine_with(tmp_path, planned(), first).left_out_of("c7") == 2
    (tmp_path / LAB_FILE).write_text("{}")
    assert announced_tables([Machine(tmp_path, tmp_path)]) == []
