"""Runs and reports as Python hands them back: a notebook's cell shows them as table and picture."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from hpml.records.epoch_lines import PHASE_HEADINGS, shown_times
from hpml.records.phases import PHASES
from hpml.records.run_record import EpochRecord, RunRecord
from hpml.records.verdict_in_words import in_words
from hpml.report.comparison import Comparison
from hpml.report.ranking import NOTHING
from hpml.report.run.facts import in_figures, marks

MOST_EPOCHS = 20
MOST_PICTURES = 2  # the page has all


class TrainedRun(RunRecord):
    """A run's record, with the directory that holds it."""

    @property
    def directory(self) -> Path:
        return Path(str(self.config["run_dir"]))

    @property
    def sentences(self) -> list[str]:
        """The verdict and its advice; what cut the run short; what an evaluation has measured."""
        found = in_words(self.verdict) if self.verdict else ()
        metrics = (self.evaluation or {}).get("metrics", {})
        measured = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        ended = "" if self.status == "completed" else f"{self.status}: {self.cause}"
        return [*filter(None, (ended, *found, measured))]

    def _repr_html_(self) -> str:
        from hpml.report.page import cell  # and matplotlib

        values = {
            "sentences": self.sentences,
            "table": self._table(),
            "note": self._note,
            "path": str(self.config.get("run_dir", "")),
        }
        return cell(values, self._pictures())

    @property
    def _note(self) -> str:
        """What the table leaves out, and what its marks mean."""
        cut = f"the last {MOST_EPOCHS} epochs" if len(self.epochs) > MOST_EPOCHS else ""
        marked = "".join(map(marks, self.epochs[-MOST_EPOCHS:]))
        meanings = {"!": "! disturbed by others", "*": "* cut short or resumed"}
        shown = (meaning for mark, meaning in meanings.items() if mark in marked)
        return "; ".join(filter(None, (cut, *shown)))

    def _table(self) -> Any:
        from hpml.report.tables import Cell, Table

        shown = self.epochs[-MOST_EPOCHS:]
        metrics = list(dict.fromkeys(name for epoch in shown for name in epoch.metrics))
        headings = ["epoch", "time s", *PHASE_HEADINGS, "samples/s", *metrics]
        rows = [[Cell(text) for text in _texts(epoch, metrics)] for epoch in shown]
        return Table(headings, rows, 0)

    def _pictures(self) -> Iterator[Any]:
        from hpml.report.picture_style import bars, legend_above
        from hpml.report.pictures import Picture
        from hpml.statistics import Estimate

        shown = [e for e in self.epochs[-MOST_EPOCHS:] if e.time["epoch_s"] is not None]
        if not shown:
            return
        times = [Estimate(epoch.time["epoch_s"] or 0.0, None, 1) for epoch in shown]
        parts = [([epoch.time[p.key] or 0.0 for epoch in shown], p.look) for p in PHASES]
        names = [f"epoch {epoch.epoch}" for epoch in shown]
        figure = bars(names, times, "time", parts=parts)
        legend_above(figure, [phase.title for phase in PHASES])
        yield Picture("epochs", "Where each epoch's time goes", figure)


def _texts(epoch: EpochRecord, metrics: Sequence[str]) -> list[str]:
    """The cells of an epoch's row."""
    rate = epoch.samples_per_s
    return [
        f"{epoch.epoch}{marks(epoch)}",
        *shown_times(epoch.time),
        NOTHING if rate is None else f"{rate:,.0f}",
        *(in_figures(name, epoch.metrics.get(name)) for name in metrics),
    ]


class Report:
    """The runs under some paths, compared; its page, pictures and tables are in `folder`."""

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        self.paths = list(paths)
        self.folder = folder

    @cached_property
    def comparison(self) -> Comparison:
        return Comparison(self.paths)

    @property
    def records(self) -> list[RunRecord]:
        """Of all runs, in the order of their start; whole, where they still lie there."""
        runs = self.comparison.runs
        return [RunRecord.read_if_any(run.directory) or run.record for run in runs]

    @property
    def path(self) -> Path:
        """The page."""
        from hpml.report.make import PAGE

        return self.folder / PAGE

    @property
    def failed(self) -> list[str]:
        """The runs that did not complete, by their names."""
        return [run.name for run in self.comparison.unfinished]

    @property
    def sentences(self) -> list[str]:
        """What did not complete, then what was found."""
        compared = self.comparison
        ended = [f"{run.record.status}: {run.name}: {run.cause}" for run in compared.unfinished]
        disturbed = [f"times disturbed: {line}" for line in compared.disturbances]
        shared = [f"machine shared: {line}" for line in compared.company]
        return [*ended, *compared.sentences, *disturbed, *shared]

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, f"report: {self.path}"])

    def _repr_html_(self) -> str:
        from hpml.report.page import cell  # and matplotlib
        from hpml.report.pictures import draw
        from hpml.report.run.facts import only_run
        from hpml.report.tables import setting_table

        if (run := only_run(self.comparison, self.paths)) is not None:
            return TrainedRun(**vars(run.record))._repr_html_()
        table = setting_table(self.comparison) if self.comparison.settings else None
        values = {"sentences": self.sentences, "table": table, "path": str(self.path)}
        return cell(values, islice(draw(self.comparison), MOST_PICTURES))
