import re
from pathlib import Path

import pytest
from helpers.records import make_run

from hpml.report.comparison import Comparison
from hpml.report.terminal import show


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_a_narrow_terminal_keeps_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rate goes first, or the phases, all of them or none, then the mean over all epochs."""
    for name in ("adam", "nesterov"):
        make_run(tmp_path, f"optimizer={name}")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    headings = {}
    for width in (110, 80, 60, 50):
        monkeypatch.setenv("COLUMNS", str(width))
        show(Comparison([tmp_path]))
        out = shown(capsys)
        assert "optimizer=nesterov " in out
        assert "…" not in out
        headings[width] = next(line for line in out.splitlines() if line.startswith(" setting"))
    first, steady, rest = "epoch s", "steady s", "samples/s val/accuracy"
    phases = "= data transf train valid other"
    for width, expected in {
        110: f"runs {steady} {first} {phases} {rest}",
        80: f"runs {steady} {first} {rest}",
        60: f"runs {steady} {first} val/accuracy",
        50: f"runs {steady} val/accuracy",
    }.items():
        assert headings[width].split() == ["setting", *expected.split()]


def test_what_failed_comes_first_with_its_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text that looks like markup is shown as it is."""
    make_run(tmp_path, "x=[red]good")
    error = {"type": "E", "message": "it [bold]broke\nhere"}
    make_run(tmp_path, "x=bad", status="failed", error=error)
    make_run(tmp_path, "x=half")
    (tmp_path / "x=half" / "record.json").write_text("{")
    show(Comparison([tmp_path]))
    first, second, *table = shown(capsys).splitlines()
    assert first == "failed: x=bad: E: it [bold]broke"
    assert second.startswith("left out: ")
    assert any(line.startswith(" x=[red]good ") for line in table)


def test_a_table_that_would_not_end_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page has all of it."""
    for rate in range(45):
        make_run(tmp_path, f"optimizer.lr={rate}")
    show(Comparison([tmp_path]))
    out = shown(capsys)
    assert "the first 40 of 45" in out
    assert out.count("optimizer.lr=") == 40


def test_evaluations_are_told_and_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have no epochs."""
    make_run(tmp_path, "seed=0")
    evaluation = {"checkpoint": "last.ckpt", "metrics": {"test/accuracy": 0.75}}
    make_run(tmp_path, "evaluate=last.ckpt", epochs=0, evaluation=evaluation)
    comparison = Comparison([tmp_path])
    show(comparison)
    assert "evaluated: evaluate=last.ckpt: test/accuracy 0.7500 of last.ckpt" in shown(capsys)
    assert len(comparison.settings) == 1


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
        make_run(tmp_path, f"x={letter * 200}")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    show(Comparison([tmp_path]))
    assert widest - 20 < max(map(len, shown(capsys).splitlines())) <= widest
