"""The lab's page: a section for each part, made of the results of all machines it ran on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpml.lab.parts import DEVICES, NO_NORM, PARTS, SUMMARY, TRAINING, WORKERS
from hpml.lab.plan_choice import whole_command
from hpml.lab.report.machine import Machine
from hpml.lab.report.other_than_asked import instead_of_asked
from hpml.lab.report.part_result import PartResult
from hpml.lab.report.planned_and_actual import announced_sentences, announced_tables
from hpml.lab.report.published import (
    about_published,
    own_figures,
    published_caption,
    published_table,
)
from hpml.lab.report.results_by_part import results_of
from hpml.lab.tasks import LAB_FILE
from hpml.report.collect import clean
from hpml.report.make import PAGE
from hpml.report.page import render

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = ("c[0-9]_*.png", "c[0-9]_*.svg")
ABOUT = (
    "every figure was measured by the commands beside it; the answers are sentences that a program "
    "makes of the figures"
)


@dataclass(frozen=True)
class Heading:
    """What stands above the sections: `hardware` a line for each machine or version."""

    title: str
    summary: str = ""
    hardware: list[str] = field(default_factory=list)
    shortened: str = ""
    budget: str = ""


@dataclass(frozen=True)
class Section(PartResult):
    """A part of the lab: what was asked, how it was made, what came out."""

    part: str  # as the lab counts them, `C3`; its lower case is the section's address
    title: str
    asked: str
    commands: list[str] = field(default_factory=list)  # for a shell, that made it
    hardware: list[str] = field(default_factory=list)
    shortened: str = ""  # in what it did less than the lab asks
    missing: str = ""  # why there are no figures yet, and what to do

    @property
    def heading(self) -> str:
        """`C3: The best number of workers`, on one line."""
        return " ".join(f"{self.part}: {self.title}".split())

    @property
    def anchor(self) -> str:
        """The heading's address in Markdown, as GitHub and GitLab make it."""
        return re.sub(r"[^\w\- ]", "", self.heading.lower()).replace(" ", "-")


def write_report(lab: Path, published: bool = False) -> Path:
    """Writes `report.html`, whose path it returns, `report.md` and the pictures.

    With a section on two submissions that are `published`, where that is asked for.
    """
    for pattern in PICTURES:
        for old in lab.glob(pattern):
            old.unlink()
    machines = machines_of(lab)
    shortened = "; ".join(
        machine.in_front(text, machines)
        for machine in machines
        for text in filter(None, (machine.shortened, machine.shortened_search))
    )
    heading = Heading(
        title=f"The lab: {clean(lab.name)}",
        summary="; ".join([*_trained(machines), ABOUT]),
        hardware=[machine.hardware for machine in machines],
        shortened=shortened,
        budget=_budget(machines, lab.name),
    )
    sections = sections_of(lab, machines)
    sections += [_announced(machines)] if any(machine.plans for machine in machines) else []
    sections += [_published(machines, shortened)] if published else []
    return write_page(sections, heading, lab)


def _budget(machines: Sequence[Machine], name: str) -> str:
    """Into which budgets it was fitted, and what would not be shortened."""
    budgets = sorted({b for m in machines if (b := m.state.get("budget_min"))})
    if not budgets:
        return ""
    fitted = f"Fitted into {', '.join(f'{b:g}' for b in budgets)} minutes."
    cut = next((machine for machine in machines if machine.shortened), None)
    whole = whole_command(cut.state.get("typed", []), name) if cut else ""
    return f"{fitted} Whole epochs, without a budget: {whole}" if whole else fitted


def _announced(machines: Sequence[Machine]) -> Section:
    return Section(
        "Plan",
        "Announced and run",
        "What the plan announced, what was run, and how long it took.",
        tables=announced_tables(machines),
        answer=announced_sentences(machines),
    )


def _published(machines: Sequence[Machine], shortened: str) -> Section:
    table, answer = published_table(own_figures(machines)), about_published(machines)
    return Section(
        "Published",
        "Beside two published submissions",
        "What others have handed in for the same lab, and what was wrong with it.",
        shortened=shortened,
        tables=[(table, published_caption())],
        answer=answer,
    )


def machines_of(lab: Path) -> list[Machine]:
    """Those that a lab has results of."""
    return [Machine(file.parent, lab) for file in sorted(lab.glob(f"*/{LAB_FILE}"))]


def sections_of(lab: Path, machines: Sequence[Machine]) -> list[Section]:
    """A section for each part; code that one before has shown is named, not shown again."""
    sections, shown = [], dict[str, str]()
    for part in PARTS:
        section = _section(part, machines, lab)
        before = shown.setdefault(section.code, section.part)
        if section.code and before != section.part:
            same = f"Counted by the code under {before}."
            section = replace(section, code="", answer=[*section.answer, same])
        sections.append(section)
    return sections


def write_page(sections: Sequence[Section], heading: Heading, folder: Path) -> Path:
    """Writes `report.html`, whose path it returns, and `report.md`. All text is escaped."""
    render("lab_page", vars(heading) | {"sections": sections}, folder, TEMPLATES)
    return folder / PAGE


def _section(part: str, machines: Sequence[Machine], lab: Path) -> Section:
    asked, of_all = PARTS[part], results_of(part, machines)
    head = part.upper(), asked.title, asked.asked
    everywhere = [machine.name for machine, _ in of_all]
    if asked.task == SUMMARY:  # which counts the same on all machines, of one network
        of_all = [each for n, each in enumerate(of_all) if not _is_among(each, of_all[:n])]
    if not of_all:
        return Section(*head, missing=_missing(part, machines, lab))
    there = [machine for machine, _ in of_all]
    by_itself = there if part != "c5" else []  # which has one table of all machines
    tasks = {asked.task, *({"c5": [TRAINING], "c7": [SUMMARY, TRAINING]}.get(part, ()))}
    shortened = [(m, m.shortened_search if part == "c3" else m.shortened) for m in there]
    if asked.task not in (WORKERS, TRAINING, DEVICES, NO_NORM):
        shortened = []
    return Section(
        *head,
        commands=[
            words for m in there for task in sorted(tasks) for words in m.commands(task, part)
        ],
        hardware=everywhere,
        shortened="; ".join(m.in_front(text, there) for m, text in shortened if text),
        tables=[(t, m.in_front(caption, by_itself)) for m, f in of_all for t, caption in f.tables],
        pictures=[picture for _, figures in of_all for picture in figures.pictures],
        code=of_all[0][1].code,
        answer=[m.in_front(line, by_itself) for m, f in of_all for line in _answer(part, m, f)],
    )


def _is_among(
    one: tuple[Machine, PartResult], others: Sequence[tuple[Machine, PartResult]]
) -> bool:
    """Whether another machine has the same figures."""
    return any(one[1] == figures for _, figures in others)


def _answer(part: str, machine: Machine, figures: PartResult) -> list[str]:
    """A machine's answer, behind what it is about where that is not what was asked."""
    instead = instead_of_asked(machine, part) if figures.answer else ""
    return [*filter(None, [instead]), *figures.answer]


def _missing(part: str, machines: Sequence[Machine], lab: Path) -> str:
    if part == "c7" and machines and not any(m.has_norm for m in machines):
        can = "one that can do without normalisation, as model=resnet18 and model=small"
        return f"The network has no model.norm that is true; it takes {can}."
    machine = machines[0] if machines else Machine(lab, lab)
    budget_min = machine.left_out_of(part)
    why = f"Left out of {budget_min:g} minutes. " if budget_min else ""
    return f"{why}To run it: {machine.command_for(part)}"


def _trained(machines: Sequence[Machine]) -> list[str]:
    """Which network on which data: `resnet18 on cifar10`."""
    choices = (run.record.choices for machine in machines for run in machine.sgd)
    pairs = dict.fromkeys(f"{of.get('model')} on {of.get('data')}" for of in choices)
    return [clean(", ".join(pairs))] if pairs else []
