"""What the terminal shows of one run: its epochs, its verdict, what became of it."""

from collections.abc import Iterator

from rich.text import Text

from hpml.formatting import console
from hpml.records.epoch_lines import EpochLines
from hpml.report.collect import Run, clean
from hpml.report.comparison import Comparison
from hpml.report.run.facts import machine, sentences, subject, untold_disturbances, verdict_lines

MOST_ROWS = 40  # an even number


def show_run(run: Run, comparison: Comparison) -> None:
    page = console()
    for line in _lines(run, comparison):
        page.print(Text(clean(line)), soft_wrap=True)


def _lines(run: Run, comparison: Comparison) -> Iterator[str]:
    record = run.record
    yield from (f"left out: {line}" for line in comparison.left_out)
    if not run.completed:
        yield ": ".join(filter(None, (record.status, run.name, run.cause)))
    yield from filter(None, ["; ".join(filter(None, (subject(run), machine(run))))])
    yield from _rows(run)
    yield from sentences(run)
    yield from (f"times disturbed: {line}" for line in untold_disturbances(run, comparison))
    yield from comparison.company
    if verdict := verdict_lines(record):
        evidence, advice = verdict
        yield from (evidence, f"  {advice}")


def _rows(run: Run) -> Iterator[str]:
    """The table that grew while it trained; of many epochs the first and the last."""
    table, epochs = EpochLines(), run.record.epochs
    left_out = max(0, len(epochs) - MOST_ROWS)
    for place, epoch in enumerate(epochs):
        lines = table.lines(epoch)
        if left_out and MOST_ROWS // 2 <= place < MOST_ROWS // 2 + left_out:
            if place == MOST_ROWS // 2:
                yield f"    …  {left_out:,} more"
            continue
        yield from lines
