"""One table over a set of runs: what varies, how fast, how good."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpml.records import TIMES, RunRecord, find_records
from hpml.report.collect import mean, varying_overrides
from hpml.report.epoch_table import PHASES, shown_times

HEADINGS = ("epochs", "epoch s", *PHASES, "samples/s", "val acc")


def print_table(paths: Sequence[Path]) -> int:
    """Prints the table of the runs under some paths; returns how many there are."""
    records, broken = find_records(paths)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)  # rich assumes 80
    if records:
        console.print(_table(records, console.width))
    for directory, record in records:
        if record.error:
            first = record.error["message"].partition("\n")[0]
            console.print(Text(f"{record.status}: {directory.name}: {first}"))
    for line in broken:
        console.print(Text(f"left out: {line}"))
    return len(records)


def _table(records: Sequence[tuple[Path, RunRecord]], width: int) -> Table:
    names = []
    varying = varying_overrides([record for _, record in records])
    for (directory, record), name in zip(records, varying, strict=True):
        state = "" if record.status == "completed" else f" ({record.status})"
        names.append((name or directory.name) + state)
    rows = [dict(zip(HEADINGS, _cells(record), strict=True)) for _, record in records]
    widths = {
        heading: 1 + max(len(heading), *(len(row[heading]) for row in rows)) for heading in HEADINGS
    }
    room = width - min(40, max(map(len, names))) - 2
    for least_needed in (("epochs",), PHASES):
        if sum(widths.values()) > room:
            widths = {key: value for key, value in widths.items() if key not in least_needed}
    on_test = all((record.config.get("data") or {}).get("val_split") == 0 for _, record in records)
    table = Table(
        box=box.SIMPLE,
        padding=0,
        pad_edge=False,
        caption="means over whole epochs, in seconds; last accuracy"
        + (", on the test set" if on_test else ""),
    )
    table.add_column("run", overflow="fold")
    for heading in widths:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in zip(names, rows, strict=True):
        # Text: an override may hold what rich would take for its markup
        table.add_row(Text(name), *(row[heading] for heading in widths))
    return table


def _cells(record: RunRecord) -> list[str]:
    def shown(value: float | None, spec: str) -> str:
        return "–" if value is None else f"{value:{spec}}"

    whole = [epoch for epoch in record.epochs if not epoch.partial]
    epochs = whole or record.epochs
    times = {name: mean([epoch.time[name] for epoch in epochs]) for name in TIMES}
    samples = mean([epoch.samples for epoch in epochs])
    rate = samples / times["epoch_s"] if samples and times["epoch_s"] else None
    return [
        f"{len(epochs)}{'' if whole or not epochs else '*'}",
        *shown_times(times),
        shown(rate, ",.0f"),
        shown(record.last_metric("val/accuracy"), ".2%"),
    ]
