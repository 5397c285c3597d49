import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_records import make_epoch, make_record

from hpml.records import TIMES
from hpml.report.collect import find_records, mean, varying_overrides
from hpml.report.epoch_table import EpochTable, shown_times
from hpml.report.sweep_table import print_table


def test_the_epoch_table_has_aligned_columns_within_a_hundred() -> None:
    """Rows are as wide as the heading, whatever is missing or large."""
    metrics = {"train/loss": 1.5, "train/accuracy": 0.25, "val/loss": 0.1, "lr": 0.1}
    full = make_epoch(0, **metrics)
    empty = make_epoch(7)
    empty.samples_per_s = None
    huge = make_epoch(12, **metrics | {"train/loss": 157161088.0, "lr": 1.23456e-17})
    table = EpochTable()
    heading, row = table.lines(full)
    assert len(heading) <= 100
    for epoch in (full, empty, huge):
        assert [len(line) for line in table.lines(epoch)] == [len(heading)]
    metrics_shown = ["64", "1.5000", "25.00%", "0.1000", "–"]
    assert row.split() == ["0", "2.00", *["–"] * 5, *metrics_shown]


@given(st.lists(st.floats(0, 1e4) | st.floats(0, 1e6), min_size=5, max_size=5))
def test_the_times_that_are_shown_add_up(parts: list[float]) -> None:
    """Exactly, whatever is rounded: in hundredths, of an epoch of hours in tenths or seconds."""
    epoch = make_epoch(0)
    epoch.time = dict(zip(TIMES, [sum(parts), *parts], strict=True))
    texts = shown_times(epoch.time)
    assert len(texts[0]) <= 8
    assert max(map(len, texts[1:])) <= 7
    unit = 10 ** len(texts[0].partition(".")[2])
    whole, *shown = (round(unit * float(text)) for text in texts)
    assert sum(shown) == whole
    assert abs(whole - unit * sum(parts)) <= 0.51
    assert all(abs(a - unit * b) < 1 for a, b in zip(shown, parts, strict=True))


def test_metrics_of_another_project_have_columns_of_their_own() -> None:
    """As many as there is place for."""
    epoch = make_epoch(3, **{"valid/f1": 0.5, "my_loss": 1.25, "x" * 80: 1.0})
    epoch.partial = True
    table = EpochTable()
    heading, row = table.lines(epoch)
    assert heading.endswith("samples/s valid/f1  my_loss")
    assert row.split()[0] == "3*"
    assert row.split()[-2:] == ["0.5", "1.25"]


def test_a_metric_that_comes_later_gets_a_column() -> None:
    """Validation in every second epoch, say: the heading is shown again, once."""
    table = EpochTable()
    first, second = make_epoch(0, loss=1.0), make_epoch(1, loss=0.5, f1=0.75)
    assert len(table.lines(first)) == 2
    assert len(table.lines(first)) == 1
    heading, row = table.lines(second)
    assert heading.split()[-2:] == ["loss", "f1"]
    assert row.split()[-2:] == ["0.5", "0.75"]
    assert table.lines(first)[0].split()[-2:] == ["1", "–"]


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


def test_a_narrow_terminal_keeps_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The count of epochs goes first, then the phases: all are there, adding up, or none."""
    for name in ("adam", "nesterov"):
        (tmp_path / name).mkdir()
        make_record(overrides=[f"optimizer={name}"], status="completed").write(tmp_path / name)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    headings = {}
    for width in (100, 80, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table([tmp_path])
        out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert "optimizer=nesterov " in out
        assert "…" not in out
        headings[width] = next(line for line in out.splitlines() if line.startswith(" run"))
    phases = ["=", "data", "transf", "train", "valid", "other"]
    rest = ["samples/s", "val", "acc"]
    assert headings[100].split() == ["run", "epochs", "epoch", "s", *phases, *rest]
    assert headings[80].split() == ["run", "epoch", "s", *phases, *rest]
    assert headings[60].split() == ["run", "epoch", "s", *rest]


def test_the_last_known_accuracy_of_a_run_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The epoch in which it was interrupted has none."""
    cut_short = make_epoch(1)
    cut_short.partial = True
    epochs = [make_epoch(0, **{"val/accuracy": 0.75}), cut_short]
    for split, told in ((0, True), (0.1, False), (None, False)):
        config = {} if split is None else {"data": {"val_split": split}}
        make_record(status="interrupted", epochs=epochs, config=config).write(tmp_path)
        print_table([tmp_path])
        out = capsys.readouterr().out
        assert "75.00%" in out
        assert ("on the test set" in out) == told


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
