"""The page of the whole lab, a section for each of its parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpml.report.comparison import Comparison
from hpml.report.make import PAGE
from hpml.report.page import render, save
from hpml.report.pictures import draw
from hpml.report.tables import Table

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Heading:
    """What stands above the sections: `hardware` a line for each machine or version."""

    title: str
    summary: str = ""
    hardware: list[str] = field(default_factory=list)
    shortened: str = ""
    budget: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the lab: what was asked, how it was made, what came out. Empty fields do not show.

    Attributes:
        part: as the lab counts them, `C3`; its lower case is the section's address.
        title: in a few words.
        asked: what the lab asked, in a sentence.
        commands: for a shell, that made it.
        hardware: a line for each machine that it ran on.
        shortened: in what it did less than the lab asks, in a sentence.
        tables: each with its caption.
        pictures: as `page.save` returns them, under names that no other section has.
        code: lines of a program, to be shown as they are.
        answer: sentences that were generated from the measured numbers.
        missing: why there are no figures yet, and what to do.
    """

    part: str
    title: str
    asked: str
    commands: list[str] = field(default_factory=list)
    hardware: list[str] = field(default_factory=list)
    shortened: str = ""
    tables: list[tuple[Table, str]] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    code: str = ""
    answer: list[str] = field(default_factory=list)
    missing: str = ""

    @property
    def heading(self) -> str:
        """`C3: The best number of workers`, on one line."""
        return " ".join(f"{self.part}: {self.title}".split())

    @property
    def anchor(self) -> str:
        """The heading's address in Markdown, as GitHub and GitLab make it."""
        return re.sub(r"[^\w\- ]", "", self.heading.lower()).replace(" ", "-")


def write_lab_page(sections: Sequence[Section], heading: Heading, folder: Path) -> Path:
    """Writes `report.html`, whose path it returns, and `report.md`. All text is escaped.

    Raises OSError where they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = {"title": heading.title, "summary": heading.summary, "heading": heading}
    render("lab_page", values | {"sections": sections}, folder, TEMPLATES)
    return folder / PAGE


def draw_for(
    part: str, comparison: Comparison, folder: Path, only: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """Draws a comparison's pictures for a section, as files whose names begin with its part.

    Of the pictures' own names `only` says which; None for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save(replace(picture, name=f"{part.lower()}_{picture.name}"), folder)
        for picture in draw(comparison)
        if only is None or picture.name in only
    ]
