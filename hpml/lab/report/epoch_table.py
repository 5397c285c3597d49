"""The epochs of runs that differ in their seed alone, as a table."""

from collections.abc import Sequence

from hpml.formatting import decimals, with_spread
from hpml.lab.report.answers import CURVES, counting
from hpml.records.epoch_lines import PHASE_HEADINGS, shown_times
from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord
from hpml.report.collect import Run, mean
from hpml.report.tables import Cell, Table, figure
from hpml.statistics import estimate


def epoch_table(runs: Sequence[Run], phases: bool = True, curves: bool = True) -> Table:
    """A row for each epoch, means over the completed runs; last the mean time of all epochs.

    ± is a 95 % interval over the runs, which differ in their seed alone. The phases, where they are
    shown, add up to the time; `curves` are losses and accuracies. An epoch that was disturbed, in
    one of the runs, has a `!`.
    """
    setting = counting(runs)
    shown = [curve for curve in CURVES if curves and setting.all_of(curve.name)]
    columns = 1 + len(PHASE_HEADINGS) if phases else 1
    rows = []
    every = [epoch for run in setting.completed for epoch in run.epochs]
    disturbed = disturbed_epochs(setting.completed)
    for number in sorted({epoch.epoch for epoch in every}):
        epochs = [epoch for epoch in every if epoch.epoch == number]
        learned = [
            [v for e in epochs if (v := e.metrics.get(curve.name)) is not None] for curve in shown
        ]
        cells = [figure(*pair) for pair in zip(shown, map(estimate, learned), strict=True)]
        mark = "!" * (number in disturbed)
        rows.append([Cell(f"{number + 1}{mark}", number), *_times(epochs)[:columns], *cells])
    if every:
        # no value to sort by: it stays below the others
        means = [Cell(cell.text) for cell in _times(every, interval=False)[:columns]]
        rows.append([Cell(f"mean of all {len(every)}"), *means, *([Cell("")] * len(shown))])
    headings = [*["time s", *PHASE_HEADINGS][:columns], *(curve.name for curve in shown)]
    return Table(["epoch", *headings], rows)


def disturbed_epochs(runs: Sequence[Run]) -> set[int]:
    """The numbers of the epochs that were disturbed in one of some runs."""
    pairs = (pair for run in runs for pair in zip(run.record.epochs, run.seen, strict=False))
    return {epoch.epoch for epoch, seen in pairs if seen is not None and seen.disturbed}


def _times(epochs: Sequence[EpochRecord], interval: bool = True) -> list[Cell]:
    """The mean time of epochs and its phases, which add up to it as shown."""
    means = {name: mean(epoch.time[name] for epoch in epochs) for name in TIMES}
    texts = shown_times(means)
    whole = estimate([t for epoch in epochs if (t := epoch.time["epoch_s"]) is not None])
    if interval and whole:
        texts[0] = with_spread(whole, f".{decimals(whole.mean)}f")
    return [Cell(text, means[name]) for name, text in zip(TIMES, texts, strict=True)]
