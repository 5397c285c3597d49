"""One table over a set of runs: what varies, how fast, how good."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpml.records import TIMES, RunRecord
from hpml.report.collect import find_records, last_metric, mean, varying_overrides
from hpml.report.epoch_table import shown_times

HEADINGS = (
    *("epochs", "epoch s", "= data", "transf", "train", "valid", "other"),
    *("samples/s", "val acc"),
)


def print_table(paths: Sequence[Path]) -> int:
    """Prints the table of the runs under some paths; returns how many there are."""
    records, broken = find_records(paths)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)  # rich assumes 80
    if records:
        names = varying_overrides([record for _, record in records])
        table = Table(
            box=box.SIMPLE,
            padding=0,
            pad_edge=False,
            caption="means over whole epochs, in seconds; the accuracy is the last one's",
        )
        table.add_column("run", overflow="fold")
        for heading in HEADINGS:
            table.add_column(heading, justify="right", no_wrap=True)
        for (directory, record), name in zip(records, names, strict=True):
            # Text: an override may hold what rich would take for its markup
            state = "" if record.status == "completed" else f" ({record.status})"
            table.add_row(Text((name or directory.name) + state), *_cells(record))
        console.print(table)
    for directory, record in records:
        if record.error:
            first = record.error["message"].partition("\n")[0]
            console.print(Text(f"{record.status}: {directory.name}: {first}"))
    for line in broken:
        console.print(Text(f"left out: {line}"))
    return len(records)


def _cells(record: RunRecord) -> list[str]:
    def shown(value: float | None, spec: str) -> str:
        return "–" if value is None else f"{value:{spec}}"

    epochs = [epoch for epoch in record.epochs if not epoch.partial]
    times = {name: mean([epoch.time[name] for epoch in epochs]) for name in TIMES}
    samples = mean([epoch.samples for epoch in epochs])
    rate = samples / times["epoch_s"] if samples and times["epoch_s"] else None
    return [
        str(len(epochs)),
        *(shown(value, ".2f") for value in shown_times(times)),
        shown(rate, ",.0f"),
        shown(last_metric(record, "val/accuracy"), ".2%"),
    ]
