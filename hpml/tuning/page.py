"""The page of a tuning: the answer, the way from before to after in a picture, what was tried."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

from hpml.diagnosis.page import loader_sentences, loader_table
from hpml.formatting import capital, in_s
from hpml.report.page import cell, render, save
from hpml.report.picture_style import BAR, STYLE, bars
from hpml.report.pictures import Picture
from hpml.report.tables import NOTHING, Cell, Table, fact_table, machine_in_words, of_machine
from hpml.statistics import Estimate

FILE_NAME = "tune.html"
TEMPLATES = Path(__file__).parent / "templates"
# Of a row of the answer, words before figures.
HEADINGS = {"change": 0, "first losses": 3, "price": 4, "alone": 1, "in company": 2}
SAVED, LEFT = {"color": "#009e73", "hatch": "//"}, {"color": BAR}


def write_page(content: Mapping[str, Any], folder: Path) -> Path:
    """Writes `tune.html`, whose path it returns, and its picture.

    Args:
        content: of `tune.json`.
        folder: where they go. Raises OSError where they cannot be written.
    """
    picture = draw_way(content)
    values = {
        **{
            "title": "Tuning",
            "summary": machine_in_words(content["environment"]),
            "sentence": capital(content["sentence"]),
        },
        "snippet": "\n".join(content["snippet"]),
        "picture": save(picture, folder) if picture else None,
        "tried": tried(content),
        "caption": f"{capital(content['caption'])}. * is recommended.",
        "loader": loader_table(content["diagnosis"]),
        "loading": loader_sentences(content["diagnosis"]),
        "notes": [capital(sentence) for sentence in content["sentences"]],
        "facts": _facts(content),
    }
    return render("tune", values, folder, TEMPLATES, files=(FILE_NAME,))[0]


def html(content: Mapping[str, Any]) -> str:
    """What a notebook's cell shows."""
    picture = draw_way(content)
    values = {
        "sentences": [content["sentence"], *content["snippet"], *content["sentences"]],
        "table": tried(content),
        "note": f"{content['caption']}; * recommended",
    }
    return cell(values, [picture] if picture else [])


def tried(content: Mapping[str, Any]) -> Table:
    """A row for each change that was raced."""
    rows = [[row[place] for place in HEADINGS.values()] for row in content["rows"]]
    cells = [[Cell(text or NOTHING, text) for text in row] for row in rows]
    return Table(list(HEADINGS), cells, 3)


def draw_way(content: Mapping[str, Any]) -> Picture | None:
    """A waterfall: an epoch as it is, what each change takes off, an epoch with all; None where
    nothing is recommended.
    """
    if not content["changes"]:
        return None
    way = content["way"]
    names = ["as it is", *(step["change"] for step in way), "with all, measured again"]
    lengths = [content["before_s"], *(step["epoch_s"] for step in way), content["after_s"]]
    saved = [math.nan, *(max(0.0, a - b) for a, b in pairwise(lengths[:-1])), math.nan]
    ends = [
        Estimate(left + (0.0 if math.isnan(more) else more), None, 0)
        for left, more in zip(lengths, saved, strict=True)
    ]
    notes = [in_s(Estimate(seconds, None, 1)) for seconds in lengths]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        whole = [lengths[0], *(math.nan for _ in way), lengths[-1]]
        under = [math.nan, *lengths[1:-1], math.nan]
        invisible = {"color": "none", "edgecolor": "none"}
        parts = [(whole, LEFT), (under, invisible), (saved, SAVED)]
        what = "an epoch" if content["epoch_steps"] else "some steps"
        figure = bars(names, ends, f"time of {what}", notes, parts)
    caption = "From before to after: what each change takes off, beside those above it"
    return Picture("way", caption, figure)


def _facts(content: Mapping[str, Any]) -> Table:
    machine = content["environment"]
    facts = {"command": content["command"], "host": machine.get("host")}
    if (processes := content["processes"]) > 1:
        facts |= {"processes": processes, "on": ", ".join(content["hosts"])}
    return fact_table("this tuning", facts | of_machine(machine))
