import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run

from hpml.report.comparison import Comparison
from hpml.report.terminal import show


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Callable[..., str]:
    """What is shown of the runs, on a terminal or in a file."""

    def shown(columns: int = 100, terminal: bool = False) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
        show(Comparison([tmp_path]))
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    return shown


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (110, "runs steady s epoch s = data transf train valid other samples/s val/accuracy"),
        (80, "runs steady s epoch s samples/s val/accuracy"),
        (60, "runs steady s epoch s val/accuracy"),
        (50, "runs steady s val/accuracy"),
    ],
)
def test_a_narrow_terminal_keeps_the_names(
    tmp_path: Path, shown: Callable[..., str], width: int, headings: str
) -> None:
    """The rate goes first, or the phases, all of them or none, then the mean over all epochs."""
    for name in ("adam", "nesterov"):
        make_run(tmp_path, f"optimizer={name}")
    out = shown(width, terminal=True)
    assert "optimizer=nesterov " in out
    assert "…" not in out
    heading = next(line for line in out.splitlines() if line.startswith(" setting"))
    assert heading.split() == ["setting", *headings.split()]


def test_what_failed_comes_first_with_its_cause(tmp_path: Path, shown: Callable[..., str]) -> None:
    """Text that looks like markup is shown as it is."""
    make_run(tmp_path, "x=[red]good")
    error = {"type": "E", "message": "it [bold]broke\nhere"}
    make_run(tmp_path, "x=bad", status="failed", error=error)
    make_run(tmp_path, "x=half")
    (tmp_path / "x=half" / "record.json").write_text("{")
    first, second, *table = shown().splitlines()
    assert first == "failed: x=bad: E: it [bold]broke"
    assert second.startswith("left out: ")
    assert any(line.startswith(" x=[red]good ") for line in table)


def test_a_table_that_would_not_end_is_cut(tmp_path: Path, shown: Callable[..., str]) -> None:
    """The page has all of it."""
    for rate in range(45):
        make_run(tmp_path, f"optimizer.lr={rate}")
    out = shown()
    assert "the first 40 of 45" in out
    assert out.count("\n optimizer.lr=") == 40


def test_evaluations_are_told_and_not_compared(tmp_path: Path, shown: Callable[..., str]) -> None:
    """They have no epochs."""
    make_run(tmp_path, "seed=0")
    evaluation = {"checkpoint": "last.ckpt", "metrics": {"test/accuracy": 0.75}}
    make_run(tmp_path, "evaluate=last.ckpt", epochs=0, evaluation=evaluation)
    assert "evaluated: evaluate=last.ckpt: test/accuracy 0.7500 of last.ckpt" in shown()
    assert len(Comparison([tmp_path]).settings) == 1


@pytest.mark.parametrize(("terminal", "widest"), [(True, 80), (False, 100)])
def test_the_table_keeps_to_a_terminals_width(
    tmp_path: Path, shown: Callable[..., str], terminal: bool, widest: int
) -> None:
    """In a file it may be wider: nobody's terminal would break its lines."""
    for letter in "ab":
        make_run(tmp_path, f"x={letter * 200}")
    assert widest - 20 < max(map(len, shown(80, terminal).splitlines())) <= widest
