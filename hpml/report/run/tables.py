"""The tables of one run: its epochs, what they consist of, what ran on what."""

from collections.abc import Callable, Sequence
from typing import Any

from hpml.records.epoch_lines import PHASE_HEADINGS, shown_times
from hpml.records.phases import PHASES, TIMES
from hpml.records.run_record import EpochRecord
from hpml.report.collect import Run, clean
from hpml.report.ranking import NOTHING
from hpml.report.run.facts import in_figures, marks, parts
from hpml.report.run.ranks import late_in_words
from hpml.report.tables import Cell, Table, fact_table, of_machine

MOST_EPOCHS, MOST_METRICS, MOST_PARTS = 1000, 6, 15
LEAST_PART = 0.001  # of an epoch
# Columns between the times and the metrics that are there where an epoch has them.
FIGURES: dict[str, tuple[str, Callable[[EpochRecord], float | None]]] = {
    "samples/s": (",.0f", lambda epoch: epoch.samples_per_s),
    "step ms p50": (",.4g", lambda epoch: (epoch.step_ms or {}).get("p50")),
    "p99": (",.4g", lambda epoch: (epoch.step_ms or {}).get("p99")),
    "longest": (",.4g", lambda epoch: (epoch.step_ms or {}).get("max")),
    "memory MiB": (",.0f", lambda epoch: epoch.peak_memory_mib),
}


def epoch_table(run: Run) -> Table:
    """A row for each epoch, the first MOST_EPOCHS of them; the phases add up to its time."""
    epochs = run.record.epochs[:MOST_EPOCHS]
    figures = {
        name: (spec, read)
        for name, (spec, read) in FIGURES.items()
        if any(read(epoch) is not None for epoch in epochs)
    }
    has_late = any(map(late_in_words, epochs))
    late = ["late"] * has_late
    metrics = list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))[:MOST_METRICS]
    rows = [
        [
            Cell(f"{epoch.epoch}{marks(epoch)}", epoch.epoch),
            *map(Cell, shown_times(epoch.time), [epoch.time[name] for name in TIMES]),
            *(_figure(read(epoch), spec) for spec, read in figures.values()),
            *([Cell(late_in_words(epoch) or NOTHING, late_in_words(epoch))] if has_late else []),
            *(Cell(in_figures(n, v), v) for n in metrics for v in [epoch.metrics.get(n)]),
        ]
        for epoch in epochs
    ]
    return Table(["epoch", "time s", *PHASE_HEADINGS, *figures, *late, *map(clean, metrics)], rows)


def part_table(run: Run) -> Table:
    """What training and other consist of: means over the whole epochs."""
    epoch_s = run.measures["epoch_s"] or 0.0
    titles = {phase.name: phase.title for phase in PHASES}
    rows = [
        [
            Cell(clean(part), part),
            Cell(titles[phase], titles[phase]),
            Cell(f"{seconds:.4f}", seconds),
            Cell(f"{seconds / epoch_s:.1%}", seconds / epoch_s),
        ]
        for phase, part, seconds in parts(run.epochs)[:MOST_PARTS]
        if epoch_s and seconds >= LEAST_PART * epoch_s
    ]
    return Table(["part", "of", "s an epoch", "of the epoch"], rows, 2)


def run_table(run: Run) -> Table:
    """What ran, and on what."""
    record = run.record
    choices = {name: value for name, value in record.choices.items() if value != "none"}
    model = record.model or {}
    facts: dict[str, Any] = {
        "status": record.status + f": {run.cause}" * bool(run.cause),
        "started (UTC)": record.started_at.replace("T", " ")[:16],
        "command": record.command,
        "model": _in_order([model.get("name"), _parameters(model)]),
        "options": _in_order([f"{group}={option}" for group, option in choices.items()]),
        "chosen by auto": _in_order([f"{key}={value}" for key, value in record.chosen.items()])
        if isinstance(record.chosen, dict)
        else "",
        **of_machine(record.environment),
        "code": record.code_fingerprint[:8],
    }
    return fact_table("this run", facts)


def _parameters(model: dict[str, Any]) -> str | None:
    count = model.get("trainable_parameters")
    return f"{count:,} parameters" if isinstance(count, int) else None


def _in_order(words: Sequence[Any]) -> str:
    return ", ".join(str(word) for word in words if word)


def _figure(value: float | None, spec: str) -> Cell:
    return Cell(NOTHING if value is None else f"{value:{spec}}", value)
