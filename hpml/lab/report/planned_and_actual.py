"""What was announced, beside what was run, and what it took."""

from collections.abc import Iterator, Sequence
from typing import Any

from hpml.lab.parts import DEVICES, NO_NORM, PARTS, TRAINING
from hpml.lab.plan import REPORT
from hpml.lab.report.machine import Machine
from hpml.lab.state import ALL
from hpml.report.collect import clean
from hpml.report.tables import Cell, Table

HEADINGS = ["task", "announced", "run", "announced s", "took s"]
# Parts that compare a sweep of their own with the first one's SGD.
OF_SWEEP = {TRAINING: ("c1", "c2", "c6"), NO_NORM: ("c7",), DEVICES: ("c5",)}
CAPTION = "In seconds, a row for each task of each plan"
KILLED = "; > of one that was killed, without what it had taken then"


def announced_tables(machines: Sequence[Machine]) -> list[tuple[Table, str]]:
    """For each machine its plans, task by task; nothing of labs of earlier versions."""
    tables = []
    for machine in machines:
        if rows := [row for plan in machine.plans for row in _rows(plan)]:
            was_killed = any(row[-1].text.startswith(">") for row in rows)
            caption = machine.in_front(CAPTION + KILLED * was_killed, machines)
            tables.append((Table(HEADINGS, rows, names=3), caption))
    return tables


def announced_sentences(machines: Sequence[Machine]) -> list[str]:
    """What changed while it ran, and what was left out."""
    return [
        machine.in_front(sentence, machines)
        for machine in machines
        for plan in machine.plans
        for sentence in _sentences(plan)
    ]


def _sentences(plan: dict[str, Any]) -> Iterator[str]:
    budget, left_out = plan["asked"]["budget_min"], plan["left_out"]
    yield from (f"{change[:1].upper()}{change[1:]}." for change in plan.get("changes", ()))
    if parts := left_out["parts"]:
        yield (
            f"Left out of {budget:g} minutes: {', '.join(parts).upper()}; "
            f"{left_out['least_min']} minutes are enough for all."
        )


def _rows(plan: dict[str, Any]) -> Iterator[list[Cell]]:
    tasks = plan["tasks"]
    was_killed = False
    for name, of in tasks.items():
        if name in (REPORT, ALL):
            continue
        killed = of.get("starts", 0) > of.get("ends", 0)
        was_killed |= killed
        parts = _parts(name, plan["parts"])
        words = [f"{parts}: {name}", of.get("what", ""), of.get("ran", "")]
        yield [
            *(Cell(clean(text)) for text in words),
            _seconds(of.get("seconds")),
            _took(of, killed),
        ]
    budget = plan["asked"]["budget_min"]
    within = f"within {budget:g} min" if budget else ""
    if ALL in tasks or was_killed:
        words = ["all, with start, measuring and report", within, ""]
        took = _took(tasks.get(ALL, {}), was_killed)
        yield [*map(Cell, words), _seconds(plan["seconds"]), took]


def _parts(task: str, chosen: Sequence[str]) -> str:
    """Those that a task answers: `C1, C2, C6`."""
    mine = OF_SWEEP.get(task) or [part for part, of in PARTS.items() if of.task == task]
    here = [part for part in mine if part in chosen] or [
        part for part in chosen if part in ("c5", "c7")
    ]
    return ", ".join(here).upper()


def _seconds(seconds: float | None) -> Cell:
    return Cell("" if seconds is None else f"{seconds:,.0f}", seconds)


def _took(of: dict[str, Any], was_killed: bool) -> Cell:
    seconds = of.get("took_s")
    if was_killed:
        return Cell(f"> {seconds or 0:,.0f}", seconds or 0)
    return _seconds(seconds)
