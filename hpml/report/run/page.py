"""The page of one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpml.formatting import capital, counted
from hpml.report.collect import Run
from hpml.report.comparison import Comparison
from hpml.report.page import address_of, log_of, render
from hpml.report.run.facts import (
    machine,
    marks,
    sentences,
    subject,
    untold_disturbances,
    verdict_lines,
)
from hpml.report.run.tables import MOST_EPOCHS, epoch_table, part_table, run_table
from hpml.report.tables import Table

TRACE = "trace.json"


def write_page(
    run: Run, comparison: Comparison, pictures: Sequence[dict[str, str]], title: str, folder: Path
) -> None:
    """`report.html` and `report.md`. All text that comes from the record is escaped."""
    record, epochs = run.record, epoch_table(run)
    seen = [seen for seen in run.seen if seen]
    values: dict[str, Any] = {
        **{"title": title, "run": run, "summary": _summary(run), "left_out": comparison.left_out},
        "unfinished": None if run.completed else _why(run),
        "log_end": (record.error or {}).get("log_end"),
        "verdict": verdict_lines(record),
        "sentences": [capital(line) for line in (*sentences(run), *comparison.company)],
        "disturbances": untold_disturbances(run, comparison),
        "disturbed": sum(each.disturbed for each in seen),
        "looked_at": len(seen),
        "pictures": pictures,
        "epochs": epochs,
        "epochs_caption": _caption(run, epochs),
        "parts": part_table(run),
        "facts": run_table(run),
        "log": log_of(run, folder),
        "trace": address_of(run.directory / TRACE, folder),
    }
    render("run", values, folder)


def _summary(run: Run) -> str:
    record = run.record
    whole = counted(len(record.epochs), "epoch")
    return "; ".join(
        filter(None, (record.status, subject(run), whole, machine(run), record.started_at[:10]))
    )


def _why(run: Run) -> str:
    """In one line, what became of a run that has not completed."""
    if run.record.status == "running":
        return "running: still at work, or killed outright"
    return f"{run.record.status}: {run.cause}" if run.cause else run.record.status


def _caption(run: Run, table: Table) -> str:
    every = "".join(marks(epoch) for epoch in run.record.epochs)
    parts = ["Times in seconds; the five phases add up to the epoch's time"]
    parts += ["steps in milliseconds, without the first one"] if "p99" in table.headings else []
    parts += ["! disturbed by others"] if "!" in every else []
    parts += ["* cut short, or resumed"] if "*" in every else []
    if (count := len(run.record.epochs)) > MOST_EPOCHS:
        parts.append(f"the first {MOST_EPOCHS:,} of {count:,} epochs")
    return "; ".join([*parts, "more is in epochs.csv and record.json"]) + "."
