"""A whole report, in its folder and on the terminal."""

import re
from collections.abc import Sequence
from pathlib import Path

from hpml.formatting import size_in_words
from hpml.report.collect import clean
from hpml.report.comparison import Comparison
from hpml.system.files import size_of

PAGE = "report.html"
PICTURES = re.compile(r"(phases|learning|time_to_accuracy|interference|by_.*)\.(png|svg)")


def make_report(paths: Sequence[Path], folder: Path, title: str | None = None) -> int:
    """Writes the report on the runs under some paths into a folder, then shows it.

    Returns how many runs there are. Raises OSError where it cannot be written.
    """
    from hpml.report.terminal import show

    comparison = Comparison(paths)
    count = len(comparison.runs) + len(comparison.evaluations)
    if count:
        write_report(comparison, folder, title or title_of(paths))
    show(comparison)
    if count:
        disk = size_in_words(sum(size_of(path) for path in paths))
        print(f"report: {clean(str(folder / PAGE))} (the runs fill {disk})")
    return count


def title_of(paths: Sequence[Path]) -> str:
    return f"Report on {', '.join(clean(path.resolve().name) for path in paths)}"


def write_report(comparison: Comparison, folder: Path, title: str) -> None:
    """`report.html`, `report.md`, each picture as PNG and SVG, `runs.csv` and `epochs.csv`."""
    from hpml.report.page import save, write_pages
    from hpml.report.pictures import draw
    from hpml.report.tables import write_csv

    folder.mkdir(parents=True, exist_ok=True)
    for file in [*folder.iterdir()] if (folder / PAGE).exists() else ():
        if PICTURES.fullmatch(file.name):  # of a key that does not vary any more, say
            file.unlink()
    write_csv(comparison, folder)
    pictures = [save(picture, folder) for picture in draw(comparison)]
    write_pages(comparison, pictures, title, folder)
