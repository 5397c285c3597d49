"""The tables of a report, as cells that any of its forms can show, and as CSV files."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec

from hpml.formatting import size_in_words
from hpml.records.epoch_lines import PHASE_HEADINGS, shown_times
from hpml.records.phases import TIMES
from hpml.report.collect import MEASURES, Run, clean, in_words, mean
from hpml.report.comparison import RATE, SAME, Comparison
from hpml.report.ranking import NOTHING, Measure
from hpml.report.scaling import PARTS
from hpml.report.settings import ABSENT, Setting, number
from hpml.report.times_in_doubt import in_company, is_disturbed
from hpml.statistics import Estimate, Standing
from hpml.system.interference import FIGURES, Interference

# The columns of the CSV files besides keys, times and metrics.
_OF_RUN = ("started_at", "resumed", "wall_s", "epochs")
_OF_MACHINE = ("host", "device", "git_commit")
_OF_EPOCH = ("epoch", "partial", "steps", "samples")
_RATES = ("samples_per_s", "peak_memory_mib")
_SHARED = (*FIGURES, "power_w")
LINE_END = "\r\n"  # as csv has it
_PLAIN = {int, float, bool, NoneType}
_WORDS = (("null", ""), ("true", "True"), ("false", "False"))  # of JSON, and of csv
TIME_HEADINGS = {"steady_epoch_s": "steady s", "epoch_s": "epoch s"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and the value by which its column is sorted; perhaps a link, or a command below."""

    text: str
    value: float | str | None = None
    link: str = ""
    command: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and rows; the first `names` columns hold text, the others figures."""

    headings: list[str]
    rows: list[list[Cell]]
    names: int = 1


def setting_table(
    comparison: Comparison, more: Sequence[Measure] = (), most: int | None = None
) -> Table:
    """A row for each setting, or for the first so many.

    `*` marks the best and what is tied with it, `!` is disturbed. `more` measures stand before the
    one of quality, without marks.
    """
    time, quality = comparison.time, comparison.quality
    of_quality = {id(rank.setting): rank for rank in comparison.by_quality}
    of_time = {id(run): rank for rank in comparison.by_time for run in rank.setting.runs}
    keys = comparison.keys or ["run"]
    more = [measure for measure in more if measure.name != quality.name]
    headings = [*keys, "runs", *TIME_HEADINGS.values(), *PHASE_HEADINGS, "samples/s"]
    headings += [*(measure.name for measure in more), quality.name]
    rows = []
    for setting in comparison.in_order[:most]:
        place = of_time[id(setting.runs[0])].standing
        rank = of_quality[id(setting)]
        means = {name: mean(run.measures[name] for run in setting.completed) for name in MEASURES}
        rate = means["samples_per_s"]
        rows.append(
            [
                *_values(setting, keys),
                Cell(f"{len(setting.completed)}", len(setting.completed)),
                *(
                    figure(
                        time,
                        setting.estimate(name),
                        place if name == time.name else None,
                        any(is_disturbed(run, name) for run in setting.completed),
                    )
                    for name in TIME_HEADINGS
                ),
                *map(Cell, shown_times(means)[1:], [means[name] for name in TIMES[1:]]),
                Cell(NOTHING if rate is None else f"{rate:,.0f}", rate),
                *(figure(measure, setting.estimate(measure.name)) for measure in more),
                figure(quality, rank.estimate, rank.standing),
            ]
        )
    return Table(headings, rows, len(keys))


def chosen_table(comparison: Comparison) -> Table:
    """Of optimizers swept over learning rates, the best rate of each."""
    quality = comparison.quality
    others = [key for key in comparison.keys if key != RATE]
    rows = [
        [
            *_values(rank.setting, [*others, RATE]),
            Cell(str(out_of), out_of),
            figure(quality, rank.estimate),
        ]
        for rank, out_of in comparison.chosen
    ]
    return Table([*others, RATE, "out of", quality.name], rows, len(others))


def scaling_table(comparison: Comparison) -> Table:
    """A row for each number of processes, of weak and of strong scaling."""
    rows, time = [], comparison.time
    for line in comparison.scaling:
        for point in line.points:
            lost = line.lost(point)
            speed = point.bytes_per_s
            rows.append(
                [
                    Cell(line.name, line.name),
                    Cell(str(point.processes), point.processes),
                    Cell(str(point.sample.n), point.sample.n),
                    figure(time, point.setting.estimate(time.name), None, point.span.disturbed),
                    Cell(f"{point.rate:,.0f}", point.rate),
                    Cell(f"{line.speed_up(point):.2f}", line.speed_up(point)),
                    Cell(f"{line.efficiency(point):.0%}", line.efficiency(point)),
                    *(Cell(f"{lost[part]:z.0%}", lost[part]) for part in PARTS),
                    Cell(NOTHING if not speed else f"{size_in_words(speed)}/s", speed),
                ]
            )
    shown = [
        "processes",
        "runs",
        TIME_HEADINGS[time.name],
        "samples/s",
        "times as fast",
        "efficiency",
    ]
    first, *others = PHASE_HEADINGS
    lost_to = [f"lost {first}", *others, "gradients"]
    return Table(["scaling", *shown, *lost_to, "exchanged"], rows)


def fact_table(heading: str, facts: Mapping[str, Any]) -> Table:
    """A row for each of some facts that is known."""
    shown = {title: in_words(value) for title, value in facts.items() if value not in (None, "")}
    return Table(["", heading], [[Cell(k, k), Cell(v, v)] for k, v in shown.items()], 2)


def of_machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a record's `environment`: what a comparison wants to be the same."""
    return {title: environment.get(key) for key, title in SAME.items() if key != "code"}


def machine_in_words(environment: Mapping[str, Any]) -> str:
    """What computes: accelerators, if there are any, and processor."""
    words = (environment.get("accelerators") or None, environment.get("cpu"))
    return ", ".join(in_words(word) for word in words if word)


def _values(setting: Setting, keys: Sequence[str]) -> list[Cell]:
    """A setting's values, its name where nothing varies."""
    if not setting.values:
        return [Cell(setting.name, setting.name)]
    known = {key: value for key, value in setting.values.items() if value != ABSENT}
    numbers = {key: number(setting, key) for key in keys}
    return [
        Cell(setting.text_of(key), known.get(key) if value is None else value)
        for key, value in numbers.items()
    ]


def write_csv(comparison: Comparison, folder: Path) -> None:
    """`runs.csv`, a row for each run, and `epochs.csv`, a row for each epoch of each run."""
    metrics = list(dict.fromkeys(name for run in comparison.runs for name in run.facts.last))
    named = {
        id(run): [*map(setting.values.get, comparison.keys), run.seed]
        for setting in comparison.settings
        for run in setting.runs
    }
    shared = in_company(comparison.runs)
    keys = [*comparison.keys, "seed"]
    headings = ["directory", "status", "cause", *keys, "shared_machine", *_OF_RUN, *MEASURES]
    headings += [*_SHARED, *metrics, *_OF_MACHINE, "command"]
    each = (_of_run(run, [*named[id(run)], id(run) in shared], metrics) for run in comparison.runs)
    _write(folder / "runs.csv", headings, (_quoted(row) + LINE_END for row in each))
    headings = ["directory", *keys, *_OF_EPOCH, *TIMES, *_RATES, *_SHARED, *metrics]
    of_epochs = (_of_epochs(run, named[id(run)], metrics) for run in comparison.runs)
    _write(folder / "epochs.csv", headings, of_epochs)


def _of_run(run: Run, named: Sequence[Any], metrics: Sequence[str]) -> list[Any]:
    record, measures = run.record, run.measures
    return [
        *(clean(str(run.directory)), record.status, run.cause),
        *named,
        *(record.started_at, len(record.resumed), record.wall_s, run.facts.whole),
        *(measures[name] for name in MEASURES),
        *_interference(run.seen_from()),
        *map(run.facts.last.get, metrics),
        *map(record.environment.get, _OF_MACHINE),
        clean(record.command),
    ]


def _of_epochs(run: Run, named: Sequence[Any], metrics: Sequence[str]) -> str:
    columns = run.columns
    nothing = [None] * len(columns.epoch)
    shared: list[Sequence[float | None]] = [nothing] * len(_SHARED)
    if run.packed_seen:
        each = [_interference([] if seen is None else [seen]) for seen in run.seen]
        shared = [*zip(*each, strict=True)]
    figures = zip(
        *(getattr(columns, name) for name in _OF_EPOCH),
        *(columns.time[name] for name in TIMES),
        *(getattr(columns, name) for name in _RATES),
        *shared,
        *(columns.metrics.get(name, nothing) for name in metrics),
        strict=True,
    )
    return _lines([clean(str(run.directory)), *named], [*figures])


def _lines(first: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as csv writes them, each behind the same first cells; figures in a tenth of its time."""
    before, each = _quoted(first), None
    if rows and {*map(type, chain.from_iterable(rows))} <= _PLAIN:
        with suppress(OverflowError):  # of an integer with more than 64 bits
            text = msgspec.json.encode(rows)[2:-2].decode()
            for json, csv_ in _WORDS:
                text = text.replace(json, csv_)
            each = text.split("],[")
    if each is None:
        each = [*map(_quoted, rows)]
    return "".join([f"{before},{row}{LINE_END}" for row in each])


def _quoted(values: Sequence[Any]) -> str:
    """Some values of a row, as csv writes them."""
    file = StringIO()
    csv.writer(file).writerow(values)
    return file.getvalue().removesuffix(LINE_END)


def _interference(seen: Sequence[Interference]) -> list[float | None]:
    """The means of some epochs, by _SHARED; None for what none of them tells."""
    if not seen:
        return [None] * len(_SHARED)
    figures = [epoch.figures for epoch in seen]
    means = [mean([of[name] for of in figures]) for name in FIGURES]
    return [*means, mean([epoch.power_w for epoch in seen])]


def _write(path: Path, headings: Sequence[str], texts: Iterator[str]) -> None:
    """Headings and rows; nothing where there is no row."""
    # half characters: a record may hold them, and no file can
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = filter(None, texts)
        for text in islice(rows, 1):
            file.write(_quoted(headings) + LINE_END + text)
        file.writelines(rows)


def figure(
    measure: Measure,
    estimate: Estimate | None,
    standing: Standing | None = None,
    disturbed: bool = False,
) -> Cell:
    """A cell without the unit of seconds, which stand in the heading.

    `*` marks the best, `!` what was disturbed.
    """
    text = measure.shown(estimate, with_unit=measure.unit != "s")
    leads = standing in ("best", "tied") and estimate is not None and estimate.n > 1
    return Cell(text + "*" * leads + "!" * disturbed, estimate.mean if estimate else None)
