"""The report's pictures: which there are, and what is in them."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from hpml.formatting import counted, decimals
from hpml.records.phases import PHASES
from hpml.records.run_record import EpochRecord
from hpml.report.collect import ACCURACY, Run, mean
from hpml.report.comparison import Comparison, about_learning
from hpml.report.drawing import (
    INK,
    STYLE,
    bars,
    in_percent,
    legend_above,
    line,
    looks,
    spread_ticks,
    time_unit,
)
from hpml.report.settings import ABSENT, Setting, number
from hpml.statistics import Estimate, estimate

DEVICES = ("device", "trainer.devices")
MOST_BARS, MOST_LINES = 20, 10


@dataclass(frozen=True)
class Picture:
    """A picture, its file's name without the ending, and what a reader has to know."""

    name: str
    caption: str
    figure: Figure


def draw(comparison: Comparison) -> Iterator[Picture]:
    """Each picture for which there is something to show, one at a time."""
    timed = [s for s in comparison.in_order if s.all_of(comparison.time.name)]
    learned = [s for s in comparison.in_order if s.all_of(comparison.quality.name)]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        drawn: list[Picture | None] = [_phases(comparison.in_order)]
        for key in comparison.keys:
            if key in DEVICES:
                drawn.append(_speed_up(comparison, timed, key))
            else:
                drawn.append(_over_number(comparison, comparison.in_order, key))
        drawn += [_learning(comparison, learned), _time_to_reach(learned)]
        yield from (picture for picture in drawn if picture is not None)


def _phases(settings: Sequence[Setting]) -> Picture | None:
    shown = [setting for setting in settings if setting.all_of("epoch_s")][:MOST_BARS]
    if not shown:
        return None
    wholes = [whole for setting in shown if (whole := setting.estimate("epoch_s"))]
    size, unit = time_unit(max(whole.mean for whole in wholes))
    wholes = [whole.in_units(size) for whole in wholes]
    parts = [
        (
            [(mean(setting.all_of(phase.key)) or 0.0) / size for setting in shown],
            {"label": phase.title, "color": phase.colour, "hatch": phase.hatch},
        )
        for phase in PHASES
    ]
    texts = [f"{whole.mean:.{decimals(whole.mean)}f}" for whole in wholes]
    names = [setting.name for setting in shown]
    figure = bars(names, wholes, texts, f"time of an epoch ({unit})", parts)
    legend_above(figure, [phase.title for phase in PHASES])
    caption = f"Where an epoch's time goes, all epochs{_what_bars_are(shown)}"
    return Picture("phases", _cut(caption, len(settings), MOST_BARS), figure)


def _over_number(comparison: Comparison, settings: Sequence[Setting], key: str) -> Picture | None:
    """A measure against a numeric key: time, with that of waiting for data in it, or quality."""
    learning = about_learning([key])
    measure = comparison.quality if learning else comparison.time
    lines: dict[str, dict[float, Setting]] = {}
    for setting in settings:
        x = number(setting, key)
        if x is not None and setting.all_of(measure.name):
            items = setting.values.items()
            others = [f"{name}={value}" for name, value in items if name != key]
            lines.setdefault(" ".join(others), {})[x] = setting
    lines = {name: places for name, places in lines.items() if len(places) > 1}
    if not lines:
        return None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    shown = dict(itertools.islice(lines.items(), MOST_LINES))
    drawn = [(name or measure.title, _points(at, measure.name)) for name, at in shown.items()]
    waits = len(lines) == 1 and not learning
    if waits:
        in_it = "steady_data_s" if measure.name == "steady_epoch_s" else "data_s"
        drawn.append(("waiting for data in it", _points(next(iter(lines.values())), in_it)))
    means = [estimate.mean for _, points in drawn for _, estimate in points]
    size, unit = time_unit(max(means)) if measure.unit == "s" else (1.0, "")
    for (name, points), look in zip(drawn, looks(), strict=False):
        line(axes, [(x, estimate.in_units(size)) for x, estimate in points], name, look)
    spread_ticks(axes, sorted({x for places in shown.values() for x in places}))
    if measure.unit == "%":
        in_percent(axes)
    elif min(means) >= 0:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(key)
    title = "time" if waits else measure.title
    axes.set_ylabel(f"{title} ({unit})" if unit else title)
    axes.legend(fontsize=9)
    every = [setting for places in shown.values() for setting in places.values()]
    caption = f"{measure.title[0].upper()}{measure.title[1:]}, against {key}{_what_bars_are(every)}"
    return Picture(_file_name(key), _cut(caption, len(lines), MOST_LINES), figure)


def _speed_up(comparison: Comparison, settings: Sequence[Setting], key: str) -> Picture | None:
    """Bars of the epoch's time; how many times as fast as the slowest that differs in the key."""
    settings = [setting for setting in settings if setting.values[key] != ABSENT]
    shown = settings[:MOST_BARS]
    times = [time for setting in shown if (time := setting.estimate(comparison.time.name))]
    if len({s.values[key] for s in shown}) < 2 or min(time.mean for time in times) <= 0:
        return None
    others = [tuple(v for k, v in s.values.items() if k != key) for s in shown]
    slowest: dict[tuple[str, ...], tuple[float, str]] = {}
    for setting, other, time in zip(shown, others, times, strict=True):
        slowest[other] = max(slowest.get(other, (0.0, "")), (time.mean, setting.values[key]))
    size, unit = time_unit(max(time.mean for time in times))
    texts = []
    for other, time in zip(others, times, strict=True):
        worst, name = slowest[other]
        text = f"{time.mean / size:.{decimals(time.mean / size)}f} {unit}"
        is_faster = time.mean < worst
        texts.append(text + f", {worst / time.mean:.3g} times as fast as {name}" * is_faster)
    names = [setting.name for setting in shown]
    label = f"{comparison.time.title} ({unit})"
    figure = bars(names, [time.in_units(size) for time in times], texts, label)
    caption = f"Speed by {key}{_what_bars_are(shown)}"
    return Picture(_file_name(key), _cut(caption, len(settings), MOST_BARS), figure)


def _learning(comparison: Comparison, settings: Sequence[Setting]) -> Picture | None:
    shown = settings[:MOST_LINES]
    if not shown:
        return None
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    runs = [run for setting in shown for run in setting.completed]
    size, unit = time_unit(max(sum(e.time["epoch_s"] or 0.0 for e in run.epochs) for run in runs))
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, metric in enumerate(("train/loss", comparison.quality.name)):
        for setting, look in zip(shown, looks(), strict=False):
            points = _mean_curve(setting.completed, metric, size)
            for column, axes in enumerate(panels[row]):
                label = setting.name if row == column == 0 else None
                xs = [point[column] for point in points]
                axes.plot(xs, [point[2] for point in points], label=label, **look)
                if len(setting.completed) > 1:
                    lowest, highest = ([point[end] for point in points] for end in (3, 4))
                    axes.fill_between(xs, lowest, highest, color=look["color"], alpha=0.15, lw=0)
        panels[row][0].set_ylabel(metric)
        if metric.endswith("accuracy"):
            in_percent(panels[row][0])
        for axes in panels[row]:
            axes.grid(alpha=0.25, color=INK, linewidth=0.5)
    panels[1][0].set_xlabel("epochs")
    panels[1][0].xaxis.get_major_locator().set_params(integer=True)
    panels[1][0].set_xlim(0.5, max(len(run.record.epochs) for run in runs) + 0.5)
    panels[1][1].set_xlabel(f"time since the first step ({unit})")
    legend_above(figure, [setting.name for setting in shown])
    caption = "Learning over epochs, and over time: means over the completed runs"
    if any(len(setting.completed) > 1 for setting in shown):
        caption += ", in bands from the lowest run to the highest"
    if any(len({len(run.record.epochs) for run in s.completed}) > 1 for s in shown):
        caption += ", up to the last epoch that all runs of a setting have"
    return Picture("learning", _cut(caption, len(settings), MOST_LINES), figure)


def _time_to_reach(settings: Sequence[Setting]) -> Picture | None:
    """Bars of the time until the accuracy that half of the settings reach."""
    target = accuracy_to_reach(settings)
    reached = {s.name: [time_to_reach(run, target) for run in s.completed] for s in settings}
    times = {name: estimate([t for t in of if t is not None]) for name, of in reached.items()}
    # of a setting whose runs did not all reach it, the mean would be that of its lucky ones
    always = {n: time for n, time in times.items() if time and time.n == len(reached[n])}
    if not target or len(settings) < 2 or not always:
        return None
    size, unit = time_unit(max(time.mean for time in always.values()))
    always = {name: time.in_units(size) for name, time in always.items()}
    shown = sorted(times, key=lambda name: always[name].mean if name in always else math.inf)
    shown = shown[:MOST_BARS]
    texts = []
    for name in shown:
        some, of_all = times[name], counted(len(reached[name]), "run")
        if name in always:
            texts.append(f"{always[name].mean:.{decimals(always[name].mean)}f} {unit}")
        else:
            texts.append(f"reached by {some.n} of {of_all}" if some else "not reached")
    label = f"time until {ACCURACY} is {target:.0%} ({unit})"
    figure = bars(shown, [always.get(name) for name in shown], texts, label)
    caption = f"Time to reach {ACCURACY} of {target:.0%}, from the first step to the end of the "
    caption += f"epoch that reached it{_what_bars_are(settings)}"
    return Picture("time_to_accuracy", _cut(caption, len(times), MOST_BARS), figure)


def accuracy_to_reach(settings: Sequence[Setting]) -> float:
    """In whole per cent: what the runs of all settings reach where they are alike, else of half."""
    worst = sorted(
        min(
            max((epoch.metrics.get(ACCURACY) or 0.0 for epoch in run.record.epochs), default=0.0)
            for run in setting.completed
        )
        for setting in settings
        if setting.completed
    )
    if not worst:
        return 0.0
    alike = worst[0] >= 0.8 * worst[-1]
    return math.floor(100 * worst[0 if alike else len(worst) // 2] + 1e-9) / 100


def time_to_reach(run: Run, target: float) -> float | None:
    """Seconds of training until the end of the first epoch that reached an accuracy."""
    elapsed = 0.0
    for epoch in run.record.epochs:
        elapsed += epoch.time["epoch_s"] or 0.0
        if (epoch.metrics.get(ACCURACY) or 0.0) >= target:
            return elapsed
    return None


def _mean_curve(runs: Sequence[Run], metric: str, unit_s: float) -> list[tuple[float, ...]]:
    """Epoch counted from 1, mean time since the first step, the metric's mean, lowest, highest."""
    points: list[tuple[float, ...]] = []
    elapsed = [0.0] * len(runs)
    for index in range(min((len(run.record.epochs) for run in runs), default=0)):
        epochs: list[EpochRecord] = [run.record.epochs[index] for run in runs]
        elapsed = [t + (e.time["epoch_s"] or 0.0) for t, e in zip(elapsed, epochs, strict=True)]
        values = [v for epoch in epochs if (v := epoch.metrics.get(metric)) is not None]
        if values:
            x = index + 1.0, (mean(elapsed) or 0.0) / unit_s
            points.append((*x, mean(values) or 0.0, min(values), max(values)))
    return points


def _points(places: dict[float, Setting], measure: str) -> list[tuple[float, Estimate]]:
    estimates = ((x, places[x].estimate(measure)) for x in sorted(places))
    return [(x, estimate) for x, estimate in estimates if estimate is not None]


def _what_bars_are(settings: Sequence[Setting]) -> str:
    """What error bars are, where there are any."""
    repeated = any(len(setting.completed) > 1 for setting in settings)
    return "; error bars are 95 % intervals over the runs" if repeated else "; one run each"


def _cut(caption: str, count: int, most: int) -> str:
    return caption if count <= most else f"{caption}; the first {most} of {count:,} are shown"


def _file_name(key: str) -> str:
    return "by_" + re.sub(r"[^\w.-]", "_", key)
