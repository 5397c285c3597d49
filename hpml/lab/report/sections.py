"""From the lab's results to its page: a section for each part, from all machines it ran on."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hpml.config.command_line import as_override
from hpml.lab.parts import PARTS, TRAINING
from hpml.lab.report import published
from hpml.lab.report.figures import figures_of
from hpml.lab.report.machine import Machine
from hpml.lab.report.own_figures import own_figures
from hpml.lab.report.page import Heading, Section, write_lab_page
from hpml.lab.tasks import LAB_FILE
from hpml.report.collect import clean

PICTURES = ("c[0-9]_*.png", "c[0-9]_*.svg")
SUMMARY = (
    "every figure was measured by the commands beside it; the answers are sentences that a program "
    "makes of the figures"
)


def write_report(lab: Path) -> Path:
    """Writes `report.html`, `report.md` and the pictures; returns the page's path."""
    for pattern in PICTURES:
        for old in lab.glob(pattern):
            old.unlink()
    folders = sorted(file.parent for file in lab.glob(f"*/{LAB_FILE}"))
    machines = [Machine(folder, lab) for folder in folders]
    sections = [_section(part, machines, lab) for part in PARTS]
    table = published.published_table(own_figures(machines))
    shortened = [
        machine.in_front(told, machines)
        for machine in machines
        for told in (machine.shortened, machine.shortened_search)
        if told
    ]
    sections.append(
        Section(
            "Published",
            "Beside two published submissions",
            "What others have handed in for the same lab, and what was wrong with it.",
            shortened="; ".join(shortened),
            tables=[(table, published.published_caption())],
        )
    )
    budgets = sorted({b for m in machines if (b := m.state.get("budget_min"))})
    heading = Heading(
        title=f"The lab: {clean(lab.name)}",
        summary="; ".join([*_trained(machines), SUMMARY]),
        hardware=[machine.hardware for machine in machines],
        shortened="; ".join(shortened),
        budget=f"Fitted into {', '.join(f'{b:g}' for b in budgets)} minutes." if budgets else "",
    )
    return write_lab_page(sections, heading, lab)


def _section(part: str, machines: Sequence[Machine], lab: Path) -> Section:
    asked, of_all = PARTS[part], figures_of(part, machines)
    if not of_all:
        return Section(
            part.upper(), asked.title, asked.asked, missing=_missing(part, machines, lab)
        )
    there = [machine for machine, _ in of_all]
    by_itself = there if part != "c5" else []  # which has one table of all machines
    shortened = []
    if part == "c3":
        shortened = [m.in_front(m.shortened_search, there) for m in there if m.shortened_search]
    elif part[0] == "c" and part != "c4":
        shortened = [m.in_front(m.shortened, there) for m in there if m.shortened]
    tasks = {asked.task, TRAINING} if part in ("c5", "c7") else {asked.task}
    return Section(
        part.upper(),
        asked.title,
        asked.asked,
        commands=[words for m in there for task in sorted(tasks) for words in m.commands(task)],
        hardware=[machine.name for machine in there],
        shortened="; ".join(shortened),
        tables=[(t, m.in_front(caption, by_itself)) for m, f in of_all for t, caption in f.tables],
        pictures=[picture for _, figures in of_all for picture in figures.pictures],
        code=of_all[0][1].code,
        answer=[m.in_front(line, by_itself) for m, figures in of_all for line in figures.answer],
    )


def _missing(part: str, machines: Sequence[Machine], lab: Path) -> str:
    """What to do for a part without figures."""
    if part == "c7" and machines and not any(m.state.get("has_norm", True) for m in machines):
        return "The network has no normalisation to do without."
    typed = machines[0].state.get("typed", []) if machines else []
    words = [*typed, as_override("lab.name", lab.name), f"lab.parts=[{part}]"]
    return f"To run it: {shlex.join(['python', '-m', 'hpml.lab', *words])}"


def _trained(machines: Sequence[Machine]) -> list[str]:
    """Which network on which data: `resnet18 on cifar10`."""
    runs = (run.record.choices for machine in machines for run in machine.sgd)
    found = dict.fromkeys(f"{of.get('model')} on {of.get('data')}" for of in runs)
    return [clean(", ".join(found))] if found else []
