"""What the terminal shows of a comparison: one table, the ranking, what failed."""

from rich import box
from rich.table import Table
from rich.text import Text

from hpml.formatting import console, counted
from hpml.records.epoch_table import PHASE_HEADINGS
from hpml.report.collect import Run, clean
from hpml.report.comparison import Comparison
from hpml.report.tables import setting_table

# What is left out where the lines are narrow: the first of these that makes the table fit.
SPARED: tuple[tuple[str, ...], ...] = (
    (),
    ("samples/s",),
    PHASE_HEADINGS,
    (*PHASE_HEADINGS, "samples/s"),
    (*PHASE_HEADINGS, "samples/s", "epoch s"),
)
LONGEST_NAME = 40
MOST_ROWS = 40


def show(comparison: Comparison) -> None:
    """Prints what failed, the table of the settings, and what was found."""
    page = console()
    lines = [f"{run.record.status}: {run.name}{_after(run.cause)}" for run in comparison.unfinished]
    lines += [f"left out: {line}" for line in comparison.left_out]
    for line in lines:
        page.print(Text(line))
    if comparison.in_order:
        page.print(_table(comparison, page.width))
    lines = list(comparison.sentences)
    lines += [
        f"chosen out of {counted(out_of, 'learning rate')}: {rank.setting.name}"
        for rank, out_of in comparison.chosen
    ]
    lines += [f"runs differ: {line}" for line in comparison.differences]
    lines += [f"times disturbed: {line}" for line in comparison.sharing]
    lines += [f"evaluated: {run.name}: {evaluation(run)}" for run in comparison.evaluations]
    for line in lines:
        page.print(Text(line))


def evaluation(run: Run) -> str:
    """What was measured of which checkpoint: `test/accuracy 0.8410 of last.ckpt`."""
    measured = run.record.evaluation or {}
    metrics = measured.get("metrics")
    items = metrics.items() if isinstance(metrics, dict) else ()
    figures = (f"{name} {value:.4f}" for name, value in items if isinstance(value, int | float))
    return clean(f"{', '.join(figures)} of {measured.get('checkpoint')}")


def _after(cause: str) -> str:
    return f": {cause}" if cause else ""


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
    kept: dict[str, int] = {}
    for spared in SPARED:
        kept = {name: space for name, space in widths.items() if name not in spared}
        if sum(kept.values()) <= room:
            break
    table = Table(box=box.SIMPLE, padding=0, pad_edge=False, caption=_caption(comparison))
    table.add_column("setting", overflow="fold")
    for heading in kept:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in zip(names, figures, strict=True):
        texts = dict(zip(headings, row, strict=True))
        # Text: an override may hold what rich would take for its markup
        table.add_row(Text(name), *(texts[heading] for heading in kept))
    return table


def _caption(comparison: Comparison) -> str:
    several = len(comparison.settings) > 1
    parts = [f"by {comparison.order}" if several else "means over whole epochs"]
    if _several_epochs(comparison):
        parts.append("steady: after the first epoch")
    repeated = any(len(setting.completed) > 1 for setting in comparison.settings)
    parts.append("± is a 95 % interval over the runs" if repeated else "one run each")
    if comparison.has_ties:
        parts.append("* the best, or tied with it")
    if len(comparison.settings) > MOST_ROWS:
        parts.append(f"the first {MOST_ROWS} of {len(comparison.settings):,}")
    return "; ".join(parts)


def _several_epochs(comparison: Comparison) -> bool:
    return any(len(run.epochs) > 1 for run in comparison.runs)
