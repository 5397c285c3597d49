import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_records import make_epoch, make_record

from hpml.report.collect import find_records, mean, varying_overrides
from hpml.report.epoch_table import HEADER, row
from hpml.report.sweep_table import print_table


def test_the_epoch_table_has_aligned_columns_within_a_hundred() -> None:
    """Rows are as wide as the heading, whatever is missing or large."""
    metrics = {"train/loss": 1.5, "train/accuracy": 0.25, "val/loss": 0.1, "lr": 0.1}
    full = make_epoch(0, **metrics)
    empty = make_epoch(7)
    empty.samples_per_s = None
    huge = make_epoch(12, **metrics | {"train/loss": 157161088.0, "lr": 1.23456e-17})
    assert len(HEADER) <= 100
    for epoch in (full, empty, huge):
        assert len(row(epoch)) == len(HEADER)
    assert row(full).split() == ["0", "4", "2.00", "64", "1.5000", "25.00%", "0.1000", "–", "0.1"]


def test_records_are_found_once_wherever_they_lie(tmp_path: Path) -> None:
    """A run, its sweep and its file named together give one record; broken ones are told."""
    for name in ("a", "b", "broken"):
        (tmp_path / name).mkdir()
        make_record(overrides=[f"seed={name}"]).write(tmp_path / name)
    (tmp_path / "broken" / "record.json").write_text("{")
    records, broken = find_records([tmp_path / "a", tmp_path, tmp_path / "a" / "record.json"])
    assert [record.overrides for _, record in records] == [["seed=a"], ["seed=b"]]
    assert len(broken) == 1
    assert "broken/record.json: no readable record" in broken[0]


@pytest.mark.parametrize(("terminal", "widest"), [(True, 80), (False, 100)])
def test_the_table_keeps_to_a_terminals_width(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    widest: int,
) -> None:
    """In a file it may be wider: nobody's terminal would break its lines."""
    for letter in "ab":
        (tmp_path / letter).mkdir()
        make_record(overrides=[f"seed={letter * 200}"]).write(tmp_path / letter)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    print_table([tmp_path])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert widest - 20 < max(len(line) for line in lines) <= widest


def test_only_what_varies_is_shown() -> None:
    """What all runs share says nothing about their difference."""
    records = [make_record(overrides=["experiment=demo", f"seed={seed}"]) for seed in (0, 1)]
    assert varying_overrides(records) == ["seed=0", "seed=1"]
    assert varying_overrides([]) == []


def test_a_mean_is_over_what_is_known() -> None:
    """Nothing known, no mean."""
    assert mean([1.0, None, 3.0]) == 2.0
    assert mean([None]) is None


def test_the_table_shows_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Failed runs and their causes too; text that looks like markup is shown as it is."""
    for name, changes in {
        "good": {"status": "completed", "epochs": [make_epoch(**{"val/accuracy": 0.75})]},
        "bad": {"status": "failed", "error": {"type": "E", "message": "it [bold]broke\nhere"}},
    }.items():
        (tmp_path / name).mkdir()
        make_record(overrides=[f"x=[red]{name}"], **changes).write(tmp_path / name)
    assert print_table([tmp_path]) == 2
    out = capsys.readouterr().out
    assert "75.00%" in out
    assert "x=[red]good" in out
    assert "failed: bad: it [bold]broke" in out


@pytest.mark.parametrize("argument", ["nowhere", "."])
def test_the_program_says_where_it_found_nothing(tmp_path: Path, argument: str) -> None:
    """A path that is not there, or holds no record: exit code 2 and one line."""
    done = subprocess.run(
        [sys.executable, "-m", "hpml.report", argument],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
