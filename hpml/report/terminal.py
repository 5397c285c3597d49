"""What the terminal shows of a comparison: one table, the ranking, what failed."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpml.report.comparison import Comparison
from hpml.report.epoch_table import PHASES
from hpml.report.tables import setting_table

# Left out one after the other where the terminal is narrow.
SPARED = (
    PHASES,
    ("samples/s",),
    ("epoch s",),
)
LONGEST_NAME = 40
MOST_ROWS = 40


def show(comparison: Comparison) -> None:
    """Prints the table of the settings, what was found, and what failed."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # rich assumes 80
    for run in comparison.unfinished:
        cause = f": {run.record.cause}" if run.record.cause else ""
        console.print(Text(f"{run.record.status}: {run.directory.name}{cause}"))
    for line in comparison.broken:
        console.print(Text(f"left out: {line}"))
    if any(setting.completed for setting in comparison.settings):
        console.print(_table(comparison, console.width))
    for line in comparison.sentences:
        console.print(Text(line))
    for rank, out_of in comparison.chosen:
        console.print(Text(f"chosen out of {out_of}: {rank.setting.name}"))
    for line in comparison.differences:
        console.print(Text(f"runs differ: {line}"))


def _table(comparison: Comparison, width: int) -> Table:
    whole = setting_table(comparison)
    headings = whole.headings[whole.names :]
    figures = [[cell.text for cell in row[whole.names :]] for row in whole.rows[:MOST_ROWS]]
    names = [setting.name for setting in comparison.in_order[:MOST_ROWS]]
    widths = {
        heading: 1 + max(len(heading), *(len(row[column]) for row in figures))
        for column, heading in enumerate(headings)
    }
    if not _several_epochs(comparison):
        del widths["steady s"]
    room = width - min(LONGEST_NAME, max(map(len, names))) - 2
    for spared in SPARED:
        if sum(widths.values()) > room:
            widths = {name: space for name, space in widths.items() if name not in spared}
    table = Table(box=box.SIMPLE, padding=0, pad_edge=False, caption=_caption(comparison))
    table.add_column("setting", overflow="fold")
    for heading in widths:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in zip(names, figures, strict=True):
        texts = dict(zip(headings, row, strict=True))
        # Text: an override may hold what rich would take for its markup
        table.add_row(Text(name), *(texts[heading] for heading in widths))
    return table


def _caption(comparison: Comparison) -> str:
    repeated = any(len(setting.completed) > 1 for setting in comparison.settings)
    told = "means over epochs and runs"
    told += "; steady: after the first epoch" if _several_epochs(comparison) else ""
    told += "; ± is a 95 % interval over the runs" if repeated else "; one run each"
    if len(comparison.settings) > 1:
        told += "; * the best, or tied with it"
    if len(comparison.settings) > MOST_ROWS:
        told += f"; the first {MOST_ROWS} of {len(comparison.settings):,}"
    return told


def _several_epochs(comparison: Comparison) -> bool:
    return any(len(run.epochs) > 1 for run in comparison.runs)
