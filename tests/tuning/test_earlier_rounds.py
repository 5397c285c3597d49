"""A search that adds to the rounds of an earlier one."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import QUICK, composed

from hpml.errors import UserError
from hpml.trials.pace import JointPace, Pace, Timed
from hpml.tuning.earlier_rounds import identity, read_rounds

JOB = {"optimizer.lr": 0.1, "data.num_workers": [0]}
MACHINE = {"host": "here", "cpu": "CPU", "cpu_cores": 2, "torch": "2.14", "time": "now"}
TIMED = {"epoch_s": 2.0, "pace": {"step_s": 0.1, "wait_s": 0.0, "start_s": None, "first_s": 0.2}}


def kept(folder: Path, **content: Any) -> Path:
    file = folder / "tune.json"
    rounds = {"search": {"": {"0": TIMED, "1": TIMED}, "a=1": {"1": TIMED}}, "left_out": [0]}
    given = {"job": JOB, "environment": MACHINE, "rounds": rounds} | content
    file.write_text(json.dumps(given))
    return file


def test_rounds_that_count_are_read(tmp_path: Path) -> None:
    """By the names of changes; those that were left out are not."""
    timed = Timed(2.0, Pace(0.1, 0.0, None, 0.2))
    later = MACHINE | {"time": "later"}
    assert read_rounds(kept(tmp_path), JOB, later) == {"": {1: timed}, "a=1": {1: timed}}


def test_rounds_of_several_ranks_are_read(tmp_path: Path) -> None:
    """With what each of them took by itself."""
    timed = Timed(2.0, JointPace(0.1, 0.0, None, 0.2, own_s=[0.1, 0.05], waits_s=[0.0, 0.01]))
    rounds = {"search": {"": {"0": asdict(timed)}}}
    assert read_rounds(kept(tmp_path, rounds=rounds), JOB, MACHINE) == {"": {0: timed}}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another job": (JOB | {"optimizer.lr": 0.2}, MACHINE, r"another job \(optimizer.lr\)"),
    "a key more": (JOB | {"compile": True}, MACHINE, r"another job \(compile\)"),
    "another machine": (JOB, MACHINE | {"cpu_cores": 4}, r"another machine \(cpu_cores\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rounds_of_something_else_are_refused(name: str, tmp_path: Path) -> None:
    """With what differs, in one line."""
    job, machine, words = REFUSED[name]
    with pytest.raises(UserError, match=rf"^tune.resume=.*tune.json: is of {words}; leave it out$"):
        read_rounds(kept(tmp_path), job, machine)


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    """A file that is not there, or holds something else."""
    (tmp_path / "other.json").write_text("[]")
    for name in ("none.json", "other.json"):
        with pytest.raises(UserError, match="is no search that can be resumed"):
            read_rounds(tmp_path / name, JOB, MACHINE)


BROKEN: dict[str, dict[str, Any]] = {
    "no search": {},
    "a figure for the rounds of all": {"search": 1.0},
    "a figure for a round": {"search": {"": {"0": 1.0}}},
    "a round without a figure": {"search": {"": {"0": {"pace": TIMED["pace"]}}}},
    "a key of a pace that is none": {"search": {"": {"0": TIMED | {"pace": {"speed": 1.0}}}}},
    "a round without a number": {"search": {"": {"first": TIMED}}},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_was_changed_by_hand_is_refused(name: str, tmp_path: Path) -> None:
    """In one line, wherever it is broken."""
    words = r"^tune.resume=.*tune.json: its rounds cannot be read \(.*\); give a tune.json as"
    with pytest.raises(UserError, match=words):
        read_rounds(kept(tmp_path, rounds=BROKEN[name]), JOB, MACHINE)


@pytest.mark.parametrize("part", ["job", "environment", "rounds"])
def test_a_part_that_is_no_mapping_is_refused(part: str, tmp_path: Path) -> None:
    """As a file that is no search."""
    with pytest.raises(UserError, match="is no search that can be resumed"):
        read_rounds(kept(tmp_path, **{part: []}), JOB, MACHINE)


def test_a_job_is_known_by_what_it_computes(tmp_path: Path) -> None:
    """Not by where it runs; keys that change it change that."""
    first = identity(composed(tmp_path / "a", *QUICK))
    assert identity(composed(tmp_path / "b", *QUICK)) == first
    assert identity(composed(tmp_path / "a", *QUICK, "optimizer.lr=0.5")) != first
    assert json.loads(json.dumps(first)) == first
