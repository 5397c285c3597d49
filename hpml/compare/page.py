"""The page of a comparison: the sentence, what was asked, where a step's time goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from hpml.compare.question import ASKED, IN_A_STEP
from hpml.formatting import capital
from hpml.records.phases import PHASES
from hpml.report.page import cell, render, save
from hpml.report.picture_style import STYLE, bars
from hpml.report.pictures import Picture
from hpml.report.tables import Cell, Table, fact_table, of_machine
from hpml.statistics import Estimate

FILE_NAME = "compare.html"
PICTURE = "phases"  # beside it, as `.png` and `.svg`
TEMPLATES = Path(__file__).parent / "templates"
QUESTIONS = (*ASKED[:-1], "answer")  # here each column has a heading


def write_page(content: Mapping[str, Any], folder: Path) -> Path:
    """Writes `compare.html` and its picture; the page's path. Raises OSError."""
    picture = draw_phases(content)
    names = content["names"]
    values = {
        "title": "Comparison",
        "summary": f"{names['after'] or 'as it is'} beside {names['before'] or 'as it is'}",
        "sentence": capital(content["sentence"]),
        "asked": _table(QUESTIONS, content["rows"]),
        "phases": _table(IN_A_STEP, content["phase_rows"]),
        "picture": save(picture, folder) if picture else None,
        "notes": [capital(note) for note in content["notes"]],
        "rounds": content["rounds"],
        "facts": _facts(content),
    }
    return render("compare", values, folder, TEMPLATES, files=(FILE_NAME,))[0]


def html(content: Mapping[str, Any]) -> str:
    """What a notebook's cell shows."""
    picture = draw_phases(content)
    values = {
        "sentences": [content["sentence"], *content["notes"]],
        "table": _table(QUESTIONS, content["rows"]),
        "note": "intervals hold whenever one looks",
    }
    return cell(values, [picture] if picture else [])


def draw_phases(content: Mapping[str, Any]) -> Picture | None:
    """A step before and after, by phases; None where nobody knows them."""
    phases = {each["name"]: each for each in content["phases"]}
    if not phases:
        return None
    keys = ("before_s", "after_s")
    wholes = [sum(each[key] for each in phases.values()) for key in keys]
    parts = [
        ([phases[phase.name][key] for key in keys], phase.look)
        for phase in PHASES
        if phase.name in phases
    ]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        estimates = [Estimate(whole, None, 0) for whole in wholes]
        notes = [f"{1e3 * whole:.3g} ms" for whole in wholes]
        figure = bars(["before", "after"], estimates, "time of a step", notes, parts)
        figure.axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, 1.35), ncols=len(parts))
    return Picture(PICTURE, "Where a step's time goes, before and after", figure)


def _table(headings: tuple[str, ...], rows: list[list[str]]) -> Table:
    return Table(list(headings), [[Cell(text, text) for text in row] for row in rows], 1)


def _facts(content: Mapping[str, Any]) -> Table:
    machine = content.get("environment") or {}
    facts = {"command": content.get("command"), "host": machine.get("host")}
    facts |= {f"commit {side}": commit for side, commit in content.get("commits", {}).items()}
    return fact_table("this comparison", facts | of_machine(machine))
