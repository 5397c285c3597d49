"""The report's pictures: which there are, and what is in them."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hpml.formatting import capital, counted
from hpml.records.phases import PHASES
from hpml.report.collect import ACCURACY, Run, mean
from hpml.report.comparison import Comparison, about_learning
from hpml.report.interference_picture import over_epochs
from hpml.report.picture_style import (
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
from hpml.report.settings import ABSENT, Setting, labels, number
from hpml.report.times_in_doubt import is_disturbed, is_faster
from hpml.statistics import Estimate, estimate

DEVICES = ("device", "trainer.devices")
MOST_BARS, MOST_LINES, MOST_NAMED = 20, 10, 3


@dataclass(frozen=True)
class Picture:
    """A picture, its file's name without the ending, and what a reader has to know."""

    name: str
    caption: str
    figure: Figure


def draw(comparison: Comparison) -> Iterator[Picture]:
    """Each picture for which there is something to show, one at a time."""
    learned = [s for s in comparison.in_order if s.all_of(comparison.quality.name)]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield from filter(None, _drawn(comparison, learned))


def _drawn(comparison: Comparison, learned: Sequence[Setting]) -> Iterator[Picture | None]:
    yield _phases(comparison.in_order)
    for key in comparison.keys:
        yield (_speed_up if key in DEVICES else _over_number)(comparison, key)
    yield _learning(comparison, learned)
    yield _time_to_reach(learned)
    yield _interference(comparison.runs)


def _phases(settings: Sequence[Setting]) -> Picture | None:
    shown = [setting for setting in settings if setting.all_of("epoch_s")][:MOST_BARS]
    if not shown:
        return None
    parts = [
        ([mean(setting.all_of(phase.key)) or 0.0 for setting in shown], phase.look)
        for phase in PHASES
    ]
    times = [setting.estimate("epoch_s") for setting in shown]
    figure = bars(labels(shown), times, "time of an epoch", parts=parts)
    legend_above(figure, [phase.title for phase in PHASES])
    caption = f"Where an epoch's time goes, all epochs{what_bars_are(shown)}{disturbed_ones(shown)}"
    return Picture("phases", _cut(caption, len(settings), MOST_BARS), figure)


def _over_number(comparison: Comparison, key: str) -> Picture | None:
    """A measure against a numeric key: time, with that of waiting for data in it, or quality."""
    learning = about_learning([key])
    measure = comparison.quality if learning else comparison.time
    lines: dict[tuple[str, ...], dict[float, Setting]] = {}
    for setting in comparison.in_order:
        x = number(setting, key)
        if x is not None and setting.all_of(measure.name):
            others = tuple(value for name, value in setting.values.items() if name != key)
            lines.setdefault(others, {})[x] = setting
    every = [places for places in lines.values() if len(places) > 1]
    if not every:
        return None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    shown = every[:MOST_LINES]
    names = labels([next(iter(places.values())) for places in shown], without=key)
    names = names if len(comparison.keys) > 1 else [measure.title]
    drawn = [(name, _points(at, measure.name)) for name, at in zip(names, shown, strict=True)]
    waits = len(every) == 1 and not learning
    if waits:
        in_it = "steady_data_s" if measure.name == "steady_epoch_s" else "data_s"
        drawn.append(("waiting for data in it", _points(every[0], in_it)))
    means = [estimate.mean for _, points in drawn for _, estimate in points]
    size, unit = time_unit(max(means)) if measure.unit == "s" else (1.0, "")
    for (name, points), look in zip(drawn, looks(), strict=False):
        line(axes, [(x, estimate.in_units(size)) for x, estimate in points], name, look)
    spread_ticks(axes, sorted({x for places in shown for x in places}))
    if measure.unit == "%":
        in_percent(axes.yaxis)
    elif min(means) >= 0:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(key)
    title = "time" if waits else measure.title
    axes.set_ylabel(f"{title} ({unit})" if unit else title)
    axes.legend(fontsize=9)
    settings = [setting for places in shown for setting in places.values()]
    caption = f"{capital(measure.title)}, against {key}{what_bars_are(settings)}"
    caption += "" if learning else disturbed_ones(settings)
    return Picture(_file_name(key), _cut(caption, len(every), MOST_LINES), figure)


def _speed_up(comparison: Comparison, key: str) -> Picture | None:
    """Bars of the epoch's time; how many times as fast as the slowest that differs in the key."""
    there = [setting for setting in comparison.in_order if setting.values[key] != ABSENT]
    timed = [(s, time) for s in there if (time := s.estimate(comparison.time.name))]
    shown = timed[:MOST_BARS]
    if len({s.values[key] for s, _ in shown}) < 2 or min(time.mean for _, time in shown) <= 0:
        return None
    others = [[value for k, value in s.values.items() if k != key] for s, _ in shown]
    notes = []
    for other, (setting, time) in zip(others, shown, strict=True):
        peers = [pair for pair, theirs in zip(shown, others, strict=True) if theirs == other]
        slowest, slowest_time = max(peers, key=lambda pair: pair[1].mean)
        times_as_fast = f"{slowest_time.mean / time.mean:.3g} times as fast"
        note = f", {times_as_fast} as {slowest.text_of(key)}"
        notes.append(note * is_faster(setting, slowest, comparison.time.name))
    settings, times = [setting for setting, _ in shown], [time for _, time in shown]
    figure = bars(labels(settings), times, comparison.time.title, notes)
    caption = f"Speed by {key}{what_bars_are(settings)}{disturbed_ones(settings)}"
    return Picture(_file_name(key), _cut(caption, len(timed), MOST_BARS), figure)


def _learning(comparison: Comparison, settings: Sequence[Setting]) -> Picture | None:
    shown = settings[:MOST_LINES]
    if not shown:
        return None
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    runs = [run for setting in shown for run in setting.completed]
    size, unit = time_unit(max(_whole_s(run) for run in runs))
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    names = labels(shown)
    for row, metric in enumerate(("train/loss", comparison.quality.name)):
        for setting, name, look in zip(shown, names, looks(), strict=False):
            *both, means, lowest, highest = _mean_curve(setting.completed, metric, size)
            for xs, axes in zip(both, panels[row], strict=True):
                label = name if axes is panels[0][0] else None
                axes.plot(xs, means, label=label, **look)
                if len(setting.completed) > 1:
                    axes.fill_between(xs, lowest, highest, color=look["color"], alpha=0.15, lw=0)
        panels[row][0].set_ylabel(metric)
        if metric.endswith("accuracy"):
            in_percent(panels[row][0].yaxis)
        for axes in panels[row]:
            axes.grid(alpha=0.25, color=INK, linewidth=0.5)
    panels[1][0].set_xlabel("epochs")
    panels[1][0].xaxis.get_major_locator().set_params(integer=True)
    panels[1][0].set_xlim(0.5, max(run.facts.recorded for run in runs) + 0.5)
    panels[1][1].set_xlabel(f"time since the first step ({unit})")
    legend_above(figure, names)
    caption = "Learning over epochs, and over time: means over the completed runs"
    if any(len(setting.completed) > 1 for setting in shown):
        caption += ", in bands from the lowest run to the highest"
    if any(len({run.facts.recorded for run in s.completed}) > 1 for s in shown):
        caption += ", up to the last epoch that all runs of a setting have"
    caption += disturbed_ones(shown)
    return Picture("learning", _cut(caption, len(settings), MOST_LINES), figure)


def _time_to_reach(settings: Sequence[Setting]) -> Picture | None:
    """Bars of the time until the accuracy that half of the settings reach."""
    target = accuracy_to_reach(settings)
    named = zip(labels(settings), settings, strict=True)
    reached = {name: [time_to_reach(run, target) for run in s.completed] for name, s in named}
    times = {name: estimate([t for t in of if t is not None]) for name, of in reached.items()}
    # of a setting whose runs did not all reach it, the mean would be that of its lucky ones
    always = {n: time for n, time in times.items() if time and time.n == len(reached[n])}
    if not target or len(settings) < 2 or not always:
        return None
    names = sorted(times, key=lambda name: always[name].mean if name in always else math.inf)
    shown = {name: always.get(name) for name in names[:MOST_BARS]}
    notes = []
    for name, time in shown.items():
        some, of_all = times[name], counted(len(reached[name]), "run")
        note = f"reached by {some.n} of {of_all}" if some else "not reached"
        notes.append("" if time else note)
    figure = bars([*shown], [*shown.values()], f"time until {ACCURACY} is {target:.0%}", notes)
    caption = f"Time to reach {ACCURACY} of {target:.0%}, from the first step to the end of the "
    caption += f"epoch that reached it{what_bars_are(settings)}{disturbed_ones(settings)}"
    return Picture("time_to_accuracy", _cut(caption, len(times), MOST_BARS), figure)


def _interference(runs: Sequence[Run]) -> Picture | None:
    """What the epochs had to share; of many runs those that lost most."""
    looked_at = [run for run in runs if any(run.seen)]
    if len(looked_at) > MOST_LINES:
        looked_at.sort(key=lambda run: -sum(seen.lost for seen in run.seen if seen))
    figure = over_epochs(looked_at[:MOST_LINES]) if looked_at else None
    if figure is None:
        return None
    caption = "What the epochs had to share with others, beside their times; CPU pressure is the "
    caption += "part of the time in which some program waited for a core"
    if len(looked_at) > MOST_LINES:
        caption += f"; the {MOST_LINES} of {len(looked_at):,} runs that lost most are shown"
    return Picture("interference", caption, figure)


def accuracy_to_reach(settings: Sequence[Setting]) -> float:
    """In whole per cent: what the runs of all settings reach where they are alike, else of half."""
    worst = sorted(
        min(run.facts.best for run in setting.completed)
        for setting in settings
        if setting.completed
    )
    if not worst:
        return 0.0
    alike = worst[0] >= 0.8 * worst[-1]
    return math.floor(100 * worst[0 if alike else len(worst) // 2] + 1e-9) / 100


def time_to_reach(run: Run, target: float) -> float | None:
    """Seconds of training until the end of the first epoch that reached an accuracy."""
    elapsed, columns = 0.0, run.columns
    accuracies = columns.metrics.get(ACCURACY) or [None] * len(columns.epoch)
    for time_s, accuracy in zip(columns.time["epoch_s"], accuracies, strict=True):
        elapsed += time_s or 0.0
        if (accuracy or 0.0) >= target:
            return elapsed
    return None


def _whole_s(run: Run) -> float:
    return sum(time_s or 0.0 for time_s in run.columns.whole.time["epoch_s"])


def _mean_curve(runs: Sequence[Run], metric: str, unit_s: float) -> np.ndarray:
    """Epoch counted from 1, mean time since the first step, the metric's mean, lowest, highest."""
    points = []
    elapsed = 0.0
    for count, epochs in enumerate(zip(*(run.record.epochs for run in runs), strict=False), 1):
        elapsed += fmean(epoch.time["epoch_s"] or 0.0 for epoch in epochs) / unit_s
        values = [v for epoch in epochs if (v := epoch.metrics.get(metric)) is not None]
        if values:
            points.append((count, elapsed, fmean(values), min(values), max(values)))
    return np.array(points).reshape(-1, 5).T


def _points(places: dict[float, Setting], measure: str) -> list[tuple[float, Estimate]]:
    estimates = ((x, places[x].estimate(measure)) for x in sorted(places))
    return [(x, estimate) for x, estimate in estimates if estimate is not None]


def what_bars_are(settings: Sequence[Setting]) -> str:
    """What error bars are, where there are any."""
    if not any(len(setting.completed) > 1 for setting in settings):
        return "; one run each"
    return "; error bars are 95 % intervals over the runs, or the runs' range where these are wide"


def disturbed_ones(settings: Sequence[Setting], measure: str = "epoch_s") -> str:
    """Which times others disturbed, if any; how many, where their names would fill the page."""
    names = [s.name for s in settings if any(is_disturbed(r, measure) for r in s.completed)]
    if len(names) > MOST_NAMED:
        return f"; disturbed by others: {len(names)} of {counted(len(settings), 'setting')}"
    return f"; disturbed by others: {', '.join(names)}" if names else ""


def _cut(caption: str, count: int, most: int) -> str:
    return caption if count <= most else f"{caption}; the first {most} of {count:,} are shown"


def _file_name(key: str) -> str:
    return "by_" + re.sub(r"[^\w.-]", "_", key)
