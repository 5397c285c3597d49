"""What the terminal shows of a comparison: one table, the ranking, what failed."""

from rich import box
from rich.table import Table
from rich.text import Text

from hpml.formatting import console, counted
from hpml.records.epoch_lines import PHASE_HEADINGS
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
    page = console()
    for run in comparison.unfinished:
        page.print(Text(": ".join(filter(None, (run.record.status, run.name, run.cause)))))
    for line in comparison.left_out:
        page.print(Text(f"left out: {line}"))
    if comparison.in_order:
        page.print(_table(comparison, page.width))
    lines = [
        *comparison.sentences,
        *(
            f"chosen out of {counted(n, 'learning rate')}: {r.setting.name}"
            for r, n in comparison.chosen
        ),
        *(f"runs differ: {line}" for line in comparison.differences),
        *(f"times disturbed: {line}" for line in comparison.disturbances),
        *(f"machine shared: {line}" for line in comparison.company),
        *(f"evaluated: {run.name}: {evaluation(run)}" for run in comparison.evaluations),
    ]
    for line in lines:
        page.print(Text(line))


def evaluation(run: Run) -> str:
    """What was measured of which checkpoint: `test/accuracy 0.8410 of last.ckpt`."""
    measured = run.record.evaluation or {}
    metrics = measured.get("metrics")
    items = metrics.items() if isinstance(metrics, dict) else ()
    figures = (f"{name} {value:.4f}" for name, value in items if isinstance(value, int | float))
    return clean(f"{', '.join(figures)} of {measured.get('checkpoint')}")


def _table(comparison: Comparison, width: int) -> Table:
    whole = setting_table(comparison, most=MOST_ROWS)
    columns = {
        heading: [row[index].text for row in whole.rows]
        for index, heading in enumerate(whole.headings)
        if index >= whole.names and (heading != "steady s" or _several_epochs(comparison))
    }
    names = [setting.name for setting in comparison.in_order[:MOST_ROWS]]
    room = width - min(LONGEST_NAME, max(map(len, names))) - 2
    for spared in SPARED:
        kept = {heading: cells for heading, cells in columns.items() if heading not in spared}
        if sum(1 + max(map(len, [heading, *cells])) for heading, cells in kept.items()) <= room:
            break
    table = Table(box=box.SIMPLE, padding=0, pad_edge=False, caption=_caption(comparison))
    table.add_column("setting", overflow="fold")
    for heading in kept:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, *texts in zip(names, *kept.values(), strict=True):
        # Text: an override may hold what rich would take for its markup
        table.add_row(Text(name), *texts)
    return table


def _caption(comparison: Comparison) -> str:
    several = len(comparison.settings) > 1
    parts = [f"by {comparison.order}" if several else "means over whole epochs"]
    if _several_epochs(comparison):
        parts.append("steady: after the first epoch")
    parts.append(comparison.spread or "one run each")
    if comparison.has_ties:
        parts.append("* the best, or tied with it")
    if comparison.has_disturbed:
        parts.append("! disturbed by others")
    if len(comparison.settings) > MOST_ROWS:
        parts.append(f"the first {MOST_ROWS} of {len(comparison.settings):,}")
    return "; ".join(parts)


def _several_epochs(comparison: Comparison) -> bool:
    return any(run.facts.whole > 1 for run in comparison.runs)
