"""A whole report, in its folder and on the terminal."""

import logging
from collections.abc import Sequence
from pathlib import Path

from hpml.report.comparison import Comparison

log = logging.getLogger("hpml")

PAGE = "report.html"


def make_report(paths: Sequence[Path], folder: Path, title: str | None = None) -> int:
    """Writes the report on the runs under some paths into a folder, and shows it on the terminal.

    Returns how many runs there are. Raises OSError where it cannot be written.
    """
    from hpml.report.terminal import show

    comparison = Comparison(paths)
    show(comparison)
    if comparison.runs:
        write_report(comparison, folder, title or f"Report on {', '.join(map(_name, paths))}")
    return len(comparison.runs)


def write_report(comparison: Comparison, folder: Path, title: str) -> None:
    """`report.html`, `report.md`, each picture as PNG and SVG, `runs.csv` and `epochs.csv`."""
    from hpml.report.page import save, write_pages
    from hpml.report.pictures import draw
    from hpml.report.tables import write_csv

    folder.mkdir(parents=True, exist_ok=True)
    write_csv(comparison, folder)
    pictures = [save(picture, folder) for picture in draw(comparison)]
    write_pages(comparison, pictures, title, folder)


def _name(path: Path) -> str:
    return path.resolve().name
