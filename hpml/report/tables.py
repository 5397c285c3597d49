"""The tables of a report, as cells that any of its forms can show, and as CSV files."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpml.formatting import size_in_words
from hpml.records.epoch_table import PHASE_HEADINGS, shown_times
from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord
from hpml.report.collect import MEASURES, Run, clean, mean
from hpml.report.comparison import RATE, Comparison
from hpml.report.disturbances import in_company, is_disturbed
from hpml.report.ranking import NOTHING, Measure
from hpml.report.scaling import PARTS
from hpml.report.settings import ABSENT, Setting, number
from hpml.statistics import Estimate, Standing
from hpml.system.interference import FIGURES, Interference


@dataclass(frozen=True)
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


def setting_table(comparison: Comparison) -> Table:
    """A row for each setting; `*` marks the best and what is tied with it, `!` is disturbed."""
    time, quality = comparison.time, comparison.quality
    of_quality = {id(rank.setting): rank for rank in comparison.by_quality}
    of_time = {id(run): rank for rank in comparison.by_time for run in rank.setting.runs}
    keys = comparison.keys or ["run"]
    headings = [*keys, "runs", "steady s", "epoch s", *PHASE_HEADINGS, "samples/s", quality.name]
    rows = []
    for setting in comparison.in_order:
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
                    for name in ("steady_epoch_s", "epoch_s")
                ),
                *map(Cell, shown_times(means)[1:], [means[name] for name in TIMES[1:]]),
                Cell(NOTHING if rate is None else f"{rate:,.0f}", rate),
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
    rows = []
    for line in comparison.scaling:
        for point in line.points:
            lost = line.lost(point)
            speed = point.bytes_per_s
            rows.append(
                [
                    Cell(line.name, line.name),
                    Cell(str(point.processes), point.processes),
                    Cell(f"{point.rate:,.0f}", point.rate),
                    Cell(f"{line.speed_up(point):.2f}", line.speed_up(point)),
                    Cell(f"{line.efficiency(point):.0%}", line.efficiency(point)),
                    *(Cell(f"{lost.get(part, 0.0):.0%}", lost.get(part, 0.0)) for part in PARTS),
                    Cell(NOTHING if not speed else f"{size_in_words(speed)}/s", speed),
                ]
            )
    shown = ["processes", "samples/s", "times as fast", "efficiency"]
    lost_to = [f"lost: {part}" for part in PARTS]
    return Table(["", *shown, *lost_to, "exchanged"], rows)


def _values(setting: Setting, keys: Sequence[str]) -> list[Cell]:
    """A setting's values, its name where nothing varies."""
    if not setting.values:
        return [Cell(setting.name, setting.name)]
    known = {key: value for key, value in setting.values.items() if value != ABSENT}
    return [Cell(setting.text_of(key), number(setting, key) or known.get(key)) for key in keys]


def write_csv(comparison: Comparison, folder: Path) -> None:
    """`runs.csv`, a row for each run, and `epochs.csv`, a row for each epoch of each run."""
    epochs = (epoch for run in comparison.runs for epoch in run.record.epochs)
    metrics = list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))
    named: dict[int, dict[str, Any]] = {
        id(run): {key: setting.values.get(key) for key in comparison.keys} | {"seed": run.seed}
        for setting in comparison.settings
        for run in setting.runs
    }
    shared = in_company(comparison.runs)
    each = (
        (run, named[id(run)] | {"shared_machine": id(run) in shared}) for run in comparison.runs
    )
    _write(folder / "runs.csv", (_of_run(run, own, metrics) for run, own in each))
    rows = (
        {
            **{"directory": clean(str(run.directory)), **named[id(run)]},
            **_of_epoch(epoch, seen, metrics),
        }
        for run in comparison.runs
        for epoch, seen in zip(run.record.epochs, run.seen, strict=True)
    )
    _write(folder / "epochs.csv", rows)


def _of_run(run: Run, named: dict[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    record = run.record
    return {
        **{"directory": clean(str(run.directory)), "status": record.status, "cause": run.cause},
        **named,
        **{"started_at": record.started_at, "resumed": len(record.resumed)},
        **{"wall_s": record.wall_s, "epochs": len(run.epochs)},
        **{name: run.measures[name] for name in MEASURES},
        **_interference(run.seen_from()),
        **{name: record.last_metric(name) for name in metrics},
        **{name: record.environment.get(name) for name in ("host", "device", "git_commit")},
        "command": clean(record.command),
    }


def _of_epoch(
    epoch: EpochRecord, seen: Interference | None, metrics: Sequence[str]
) -> dict[str, Any]:
    return {
        **{name: getattr(epoch, name) for name in ("epoch", "partial", "steps", "samples")},
        **{name: epoch.time.get(name) for name in TIMES},
        **{name: getattr(epoch, name) for name in ("samples_per_s", "peak_memory_mib")},
        **_interference([] if seen is None else [seen]),
        **{name: epoch.metrics.get(name) for name in metrics},
    }


def _interference(seen: Sequence[Interference]) -> dict[str, float | None]:
    """The means of some epochs; None for what none of them tells."""
    means = {name: mean(epoch.figures[name] for epoch in seen) for name in FIGURES}
    return means | {"power_w": mean(epoch.power_w for epoch in seen)}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Rows that all have the keys of the first one."""
    # half characters: a record may hold them, and no file can
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        for number, row in enumerate(rows):
            if number == 0:
                writer.writerow(row)
            writer.writerow(row.values())


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
