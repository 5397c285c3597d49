"""A whole report, in its folder and on the terminal."""

import re
from collections.abc import Sequence
from pathlib import Path

from hpml.errors import UserError
from hpml.formatting import size_in_words
from hpml.report.collect import Run, clean
from hpml.report.comparison import Comparison
from hpml.system.files import size_of
from hpml.system.garbage_collection import gc_paused

PAGE = "report.html"
PICTURES = re.compile(
    r"(phases|ranks|steps|windows|memory|learning|scaling|time_to_accuracy|interference|by_.*)\.(png|svg)"
)
OF_ONE_RUN = ("learning", "interference")  # of the pictures of a comparison


def make_report(paths: Sequence[Path], folder: Path, title: str | None = None) -> int:
    """Writes the report on the runs under some paths into a folder, then shows it.

    One run alone has a page of its own; several are compared. Returns how many runs there are.
    Raises OSError where it cannot be written.
    """
    from hpml.report.run.facts import only_run
    from hpml.report.run.terminal import show_run
    from hpml.report.terminal import show

    with gc_paused():  # the runs last as long as their report
        comparison = Comparison(paths)
    count = len(comparison.runs) + len(comparison.evaluations)
    title = title or title_of(paths)
    if (run := only_run(comparison, paths)) is not None:
        write_run(run, comparison, folder, title)
        show_run(run, comparison)
    else:
        if count:
            write_report(comparison, folder, title)
        show(comparison)
    if count:
        disk = size_in_words(sum(size_of(path) for path in paths))
        print(f"report: {clean(str(folder / PAGE))} (the runs fill {disk})")
    return count


def report_on(paths: Sequence[Path], folder: Path | None, title: str | None, hint: str) -> Path:
    """The same in a folder, by default the first of the paths; returns the folder.

    Raises UserError where there is no run, or where nothing can be written; `hint` says then how to
    name another folder.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
    first = paths[0] if paths[0].is_dir() else paths[0].parent
    try:
        if not make_report(paths, folder or first, title):
            raise UserError(f"no readable record.json under {', '.join(map(str, paths))}")
    except BrokenPipeError:  # no fault of the folder
        raise
    except OSError as error:
        more = f"; {hint}" if folder is None else ""
        raise UserError(f"{error.filename or folder or first}: {error.strerror}{more}") from error
    return folder or first


def title_of(paths: Sequence[Path]) -> str:
    return f"Report on {', '.join(clean(path.resolve().name) for path in paths)}"


def write_report(comparison: Comparison, folder: Path, title: str) -> None:
    """`report.html`, `report.md`, each picture as PNG and SVG, `runs.csv` and `epochs.csv`."""
    from hpml.report.page import save, write_pages
    from hpml.report.pictures import draw
    from hpml.report.scaling_picture import draw_scaling

    _make_room(comparison, folder)
    pictures = [save(picture, folder) for picture in draw(comparison)]
    if (scaling := draw_scaling(comparison.scaling)) is not None:
        pictures.insert(0, save(scaling, folder))
    write_pages(comparison, pictures, title, folder)


def write_run(run: Run, comparison: Comparison, folder: Path, title: str) -> None:
    """The same for one run, with all of its record; `comparison` has that run alone."""
    from hpml.report.page import save
    from hpml.report.pictures import draw
    from hpml.report.run.page import write_page
    from hpml.report.run.pictures import draw_run

    _make_room(comparison, folder)
    compared = (picture for picture in draw(comparison) if picture.name in OF_ONE_RUN)
    pictures = [save(picture, folder) for picture in (*draw_run(run), *compared)]
    write_page(run, comparison, pictures, title, folder)


def _make_room(comparison: Comparison, folder: Path) -> None:
    """Removes the pictures of an earlier report, and writes the tables."""
    from hpml.report.tables import write_csv

    folder.mkdir(parents=True, exist_ok=True)
    for file in [*folder.iterdir()] if (folder / PAGE).exists() else ():
        if PICTURES.fullmatch(file.name):  # of a key that does not vary any more, say
            file.unlink()
    write_csv(comparison, folder)
