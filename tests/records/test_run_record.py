import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_epoch, make_run

from hpml.records.run_record import RecordError, RunRecord, now, read_records


def make_record(**changes: Any) -> RunRecord:
    environment, config = {"host": "here"}, {"seed": 0}
    settings = {"overrides": ["seed=0"], "config": config, "environment": environment} | changes
    return RunRecord(now(), "f" * 64, "python -m hpml.train", **settings)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """By anybody; no other file is left, and what cannot be written does not destroy what was."""
    record = make_record(status="completed", epochs=[make_epoch(**{"val/accuracy": 0.5})])
    record.write(tmp_path)
    file = tmp_path / "record.json"
    assert RunRecord.read(tmp_path) == RunRecord.read(file) == record
    assert file.stat().st_mode & 0o444 == 0o444
    before = file.read_bytes()
    with pytest.raises(TypeError):
        make_record(config={"broken": object()}).write(tmp_path)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_takes_the_windows_before_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that is there is written over, in no more room than it takes."""
    record = make_record(epochs=[make_epoch(number) for number in range(3)])
    record.write(tmp_path)
    record.windows, record.status = {"steps": [50.0] * 1000}, "completed"

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(RunRecord, "write", full)
    record.write_last(tmp_path)
    kept = RunRecord.read(tmp_path)
    assert (kept.status, len(kept.epochs), kept.windows) == ("completed", 3, None)


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    """The file is JSON for any reader."""
    make_record(epochs=[make_epoch(**{"train/loss": float("nan")})]).write(tmp_path)
    data = json.loads((tmp_path / "record.json").read_text(), parse_constant=pytest.fail)
    assert data["epochs"][0]["metrics"]["train/loss"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no readable record"),
        ("[]", "no readable record"),
        ('{"schema_version": 1', "no readable record"),
        ('{"schema_version": 1}', "no readable record"),
        ('{"schema_version": 99, "epochs": []}', "schema_version 99"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, text: str, message: str) -> None:
    """A broken file raises RecordError with its path, nothing else."""
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordError, match=message):
        RunRecord.read(tmp_path)


def test_records_and_reports_do_without_torch() -> None:
    """What reads results imports neither torch nor Lightning."""
    program = "import sys, hpml.records, hpml.report.__main__;"
    program += "print({'torch', 'lightning', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_records_are_found_once_wherever_they_lie(tmp_path: Path) -> None:
    """A run, its sweep and its file named together give one record; broken ones are told."""
    for name in ("a", "b", "broken"):
        make_run(tmp_path, name)
    (tmp_path / "broken" / "record.json").write_text("{")
    found = list(read_records([tmp_path / "a", tmp_path, tmp_path / "a" / "record.json"]))
    kinds = sorted((path.name, type(record)) for path, record in found)
    assert kinds == [("a", RunRecord), ("b", RunRecord), ("broken", RecordError)]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (None, ""),
        ({"type": "ValueError", "message": "it broke\nbadly"}, "ValueError: it broke"),
        ({"type": "KeyboardInterrupt", "message": ""}, "KeyboardInterrupt"),
        ({"type": "UserError", "message": "seed=-1: give …"}, "seed=-1: give …"),
        ({"type": "SIGKILL", "message": "killed by SIGKILL"}, "killed by SIGKILL"),
    ],
)
def test_the_cause_is_one_line(error: dict[str, str] | None, cause: str) -> None:
    """With the type of an exception that is not ours."""
    assert make_record(error=error).cause == cause
