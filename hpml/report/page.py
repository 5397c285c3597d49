"""The report as a page: one file of HTML that needs no network, and Markdown."""

import io
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import matplotlib
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from hpml.formatting import counted
from hpml.report.collect import Run, clean, in_words
from hpml.report.comparison import Comparison
from hpml.report.paging import MOST_ROWS, MOST_TOLD, PAGE_ROWS, is_paged, rows_as_json
from hpml.report.picture_style import INK, PAPER, STYLE
from hpml.report.pictures import Picture
from hpml.report.tables import (
    NOTHING,
    Cell,
    Table,
    chosen_table,
    figure,
    scaling_table,
    setting_table,
)
from hpml.report.terminal import evaluation
from hpml.report.times_in_doubt import UNSEEN_SHARE, is_disturbed
from hpml.statistics import estimate
from hpml.system.files import disk_errors_in_one_line, write_json
from hpml.system.interference import LEAST_SHARE

PNG_DPI = 200
TEMPLATES = Path(__file__).parent / "templates"
LOGS = ("output.log", "train.log")
REPORT = ("report.html", "report.md")


def write_pages(
    comparison: Comparison, pictures: Sequence[dict[str, str]], title: str, folder: Path
) -> None:
    """`report.html` and `report.md`. All text that comes from records is escaped."""
    runs = _run_table(comparison, folder)
    if is_paged(runs):  # then the page is large enough
        pictures = [picture | {"svg": ""} for picture in pictures]
    unfinished, evaluations = comparison.unfinished, comparison.evaluations
    values: dict[str, Any] = {
        **{"title": title, "comparison": comparison, "summary": _summary(comparison)},
        "failures": [(run, log_of(run, folder)) for run in unfinished[:MOST_TOLD]],
        "untold": [
            *_untold(len(unfinished), "more runs, by their status in the table"),
            *_untold(len(comparison.left_out), "more records left out"),
        ],
        "evaluations": [f"{run.name}: {evaluation(run)}" for run in evaluations[:MOST_TOLD]],
        "settings": setting_table(comparison),
        "chosen": chosen_table(comparison),
        "scaling": scaling_table(comparison),
        "runs": runs,
        "pictures": pictures,
        **{"least_share": LEAST_SHARE, "unseen_share": UNSEEN_SHARE},
    }
    render("page", values, folder)


def _untold(count: int, of_what: str) -> Iterator[str]:
    """What the page has no room for."""
    if count > MOST_TOLD:
        yield f"and {count - MOST_TOLD:,} {of_what}"


def render(
    template: str,
    values: Mapping[str, Any],
    folder: Path,
    templates: Path = TEMPLATES,
    files: Sequence[str] = REPORT,
) -> list[Path]:
    """Writes files, each from the template of a name for its ending; returns their paths.

    Those in `templates` may extend and import the report's own.
    """
    environment = _environment(templates)
    paths = [folder / name for name in files]
    for path in paths:
        text = environment.get_template(f"{template}{path.suffix}.j2").render(values)
        path.write_text(text, encoding="utf-8")
    return paths


def keep(
    content: Mapping[str, Any],
    file: Path,
    write_page: Callable[[Mapping[str, Any], Path], Path],
    say: Callable[[str], object],
) -> None:
    """Keeps what was measured as JSON, with its page beside it, and says where.

    Raises UserError where these cannot be written.
    """
    with disk_errors_in_one_line(file):
        write_json(file, content)
        page = write_page(content, file.parent)
    say(f"kept: {shlex.quote(str(file))}")
    say(f"page: {shlex.quote(str(page))}")


def cell(values: Mapping[str, Any], pictures: Iterable[Picture] = ()) -> str:
    """What a notebook's cell shows: sentences, a table with a note, pictures, the page's path.

    `pictures` are drawn here, in the report's style.
    """
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        shown = [as_svg(replace(each, name=f"{each.name}-{uuid4().hex}")) for each in pictures]
    template = _environment(TEMPLATES).get_template("notebook_cell.html.j2")
    return template.render({**values, "pictures": shown})


def _environment(templates: Path) -> Environment:
    """All text among the values is cleaned and escaped but the SVG of pictures, of `as_svg`."""
    environment = Environment(
        loader=FileSystemLoader([templates, TEMPLATES]),
        # no HTML in Markdown: what is escaped there is Markdown's own
        autoescape=lambda name: name is not None and ".html." in name,
        finalize=_cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["paged"] = is_paged
    environment.globals |= {"MOST_ROWS": MOST_ROWS, "PAGE_ROWS": PAGE_ROWS, "MOST_TOLD": MOST_TOLD}
    environment.filters["rows_as_json"] = rows_as_json
    environment.filters |= {"md": _escaped, "fenced": _fenced, "breaks": _with_breaks}
    return environment


def save(picture: Picture, folder: Path) -> dict[str, str]:
    """Writes a picture as PNG and SVG; returns its name, caption and SVG for the page."""
    picture.figure.savefig(folder / f"{picture.name}.png", dpi=PNG_DPI)
    picture.figure.set_layout_engine("none")  # both are laid out alike: it takes half of the time
    svg = _svg(picture)
    (folder / f"{picture.name}.svg").write_text(svg, encoding="utf-8")
    return {"name": picture.name, "caption": picture.caption, "svg": _inline(svg, picture)}


def as_svg(picture: Picture) -> dict[str, str]:
    """As `save`, without files. The names within are the picture's: no two on a page are alike."""
    return {"caption": picture.caption, "svg": _inline(_svg(picture), picture)}


def _svg(picture: Picture) -> str:
    buffer = io.StringIO()
    picture.figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _inline(svg: str, picture: Picture) -> str:

    def of_the_page(tag: re.Match[str]) -> str:
        text = tag[0].replace(INK, "currentColor").replace(PAPER, "none")
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{picture.name}-", text)

    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", of_the_page, svg)  # what stands between the tags is the user's
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(picture.caption)}"', 1)


def _summary(comparison: Comparison) -> str:
    completed = [run for run in comparison.runs if run.completed]
    counts = f"{counted(len(comparison.settings), 'setting')}, {len(completed):,} of "
    counts += f"{counted(len(comparison.runs), 'run')} completed"
    machines = [run.record.environment for run in completed]
    processors = sorted({in_words(machine.get("cpu")) for machine in machines})
    gpus = sorted({in_words(machine.get("accelerators") or None) for machine in machines})
    machine = ", ".join([*processors[:3], *(gpu for gpu in gpus[:3] if gpu != "none")])
    when = sorted(run.record.started_at[:10] for run in completed)
    dates = " to ".join(dict.fromkeys(when[:1] + when[-1:]))
    return "; ".join(filter(None, (counts, machine, dates)))


def _run_table(comparison: Comparison, folder: Path) -> Table:
    quality = comparison.quality
    rows = []
    for run in comparison.runs:
        record, log = run.record, log_of(run, folder)
        timed, learned = (
            estimate([] if value is None else [value])
            for value in (run.figure("epoch_s"), run.figure(quality.name))
        )
        host, commit = (in_words(record.environment.get(key)) for key in ("host", "git_commit"))
        rows.append(
            [
                Cell(run.name, run.name, command=clean(record.command)),
                Cell(_status(run), _status(run)),
                Cell(record.started_at.replace("T", " ")[:16], record.started_at),
                Cell(str(run.facts.whole), run.facts.whole),
                figure(comparison.time, timed, disturbed=is_disturbed(run)),
                figure(quality, learned),
                Cell(host, host),
                Cell(commit[:10] + "-dirty" * commit.endswith("-dirty"), commit),
                Cell("log" if log else NOTHING, log, link=log),
            ]
        )
    headings = ["run", "status", "started (UTC)", "epochs", "epoch s", quality.name]
    return Table([*headings, "host", "commit", "log"], rows, 2)


def _status(run: Run) -> str:
    times = len(run.record.resumed)
    if not times:
        return run.record.status
    return f"{run.record.status}, resumed" + (f" {times} times" if times > 1 else "")


def log_of(run: Run, folder: Path) -> str:
    """The address of a run's log, as seen from the page."""
    # of ten thousand runs, most of them without one, paths would take long
    there = (name for name in LOGS if os.path.exists(f"{run.directory}/{name}"))  # noqa: PTH110
    return next(filter(None, (address_of(run.directory / name, folder) for name in there)), "")


def address_of(file: Path, folder: Path) -> str:
    """Of a file, as seen from a page in a folder; empty where there is none."""
    if not file.is_file():
        return ""
    return quote(os.fsencode(os.path.relpath(file, folder.resolve())))


def _cleaned(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _escaped(text: object) -> str:
    """Text that Markdown shows as it is, in a line or in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|&$~])", r"\\\1", str(text)).replace("\n", " ")


def _with_breaks(key: str) -> Markup:
    """A heading in HTML that breaks between the parts of a key, and nowhere else."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])(?=\w)", clean(key)))


def _fenced(text: str) -> str:
    """A block of code in Markdown, in more backticks than stand in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
