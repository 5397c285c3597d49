"""The report's pictures. They read without colour too: by their hatches, dashes and markers."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpml.records import EpochRecord
from hpml.report.collect import ACCURACY, Run, mean
from hpml.report.comparison import Comparison, about_learning, decimals
from hpml.report.settings import Setting, number, numeric
from hpml.report.statistics import Estimate, estimate
from hpml.units import counted

# In the page, what is drawn in it takes the colour of the text.
INK = "#1b1b1a"
PAPER = "#ffffff"
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar in an override is one
}
# Colours that the colour-blind tell apart: Okabe and Ito (2008), "Color Universal Design".
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
PHASES = {  # colour, hatch
    "data_s": ("waiting for data", "#e69f00", "///"),
    "transfer_s": ("transfer", "#cc79a7", "xxx"),
    "train_s": ("train", "#56b4e9", ""),
    "validation_s": ("validation", "#009e73", "..."),
    "other_s": ("other", "#8c8c8c", "\\\\\\"),
}
MOST_BARS, MOST_LINES = 20, 10
LONGEST_NAME = 48


@dataclass(frozen=True)
class Picture:
    """A picture, its file's name without the ending, and what a reader has to know."""

    name: str
    caption: str
    figure: Figure


def draw(comparison: Comparison) -> Iterator[Picture]:
    """Each picture for which there is something to show, one at a time."""
    shown = comparison.in_order
    if not shown:
        return
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield _phases(shown)
        for key in comparison.keys:
            if "device" in key:
                yield _speed_up(comparison, shown, key)
            elif numeric(shown, key) and len({number(setting, key) for setting in shown}) > 1:
                yield _over_number(comparison, shown, key)
        best_first = [rank.setting for rank in comparison.by_quality if rank.known is not None]
        if best_first:
            yield _learning(comparison, best_first)
            to_reach = _time_to_reach(best_first)
            if to_reach is not None:
                yield to_reach


def _phases(settings: Sequence[Setting]) -> Picture:
    shown = settings[:MOST_BARS]
    figure, axes = _bars(len(shown))
    left = [0.0] * len(shown)
    for phase, (label, colour, hatch) in PHASES.items():
        widths = [mean(setting.all_of(phase)) or 0.0 for setting in shown]
        axes.barh(
            range(len(shown)),
            widths,
            left=left,
            label=label,
            color=colour,
            hatch=hatch,
            edgecolor=INK,
            linewidth=0.5,
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    wholes = [estimate(setting.all_of("epoch_s")) for setting in shown]
    _error_bars(axes, left, wholes)
    for place, (end, whole) in enumerate(zip(left, wholes, strict=True)):
        reach = end + (whole.half_width or 0.0 if whole else 0.0)
        axes.annotate(
            f"{end:.{decimals(end)}f}",
            (reach, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    _name_bars(axes, [setting.name for setting in shown])
    axes.margins(x=0.1)
    axes.set_xlabel("time of an epoch (s)")
    figure.legend(loc="outside upper center", ncols=5, fontsize=9)
    caption = "Where an epoch's time goes: means over all epochs of all completed runs"
    return Picture("phases", _cut(caption, len(settings), MOST_BARS), figure)


def _over_number(comparison: Comparison, settings: Sequence[Setting], key: str) -> Picture:
    """A measure against a numeric key: time, with that of waiting for data in it, or quality."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    learning = about_learning([key])
    measure = comparison.quality if learning else comparison.time
    lines: dict[str, list[Setting]] = {}
    for setting in settings:
        others = [f"{name}={value}" for name, value in setting.values.items() if name != key]
        lines.setdefault(" ".join(others), []).append(setting)
    looks = _looks()
    for name, line in itertools.islice(lines.items(), MOST_LINES):
        line.sort(key=lambda setting: number(setting, key))
        _line(axes, line, key, measure.name, name or measure.title, next(looks))
    waits = len(lines) == 1 and not learning
    if waits:
        (line,) = lines.values()
        _line(axes, line, key, "data_s", "waiting for data in it", next(looks))
    places = sorted({number(setting, key) for setting in settings})
    if places[0] > 0 and places[-1] / places[0] > 50:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(places) <= 12:
        axes.set_xticks(places, [f"{place:g}" for place in places])
    if measure.unit == "%":
        _in_percent(axes)
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(key)
    unit = f" ({measure.unit})" if measure.unit == "s" else ""
    axes.set_ylabel(f"time{unit}" if waits else f"{measure.title}{unit}")
    axes.legend(fontsize=9)
    caption = f"{measure.title.capitalize()}, against {key}{_bars_mean(settings)}"
    return Picture(_file_name(key), _cut(caption, len(lines), MOST_LINES), figure)


def _speed_up(comparison: Comparison, settings: Sequence[Setting], key: str) -> Picture:
    """Bars of the epoch's time; how many times as fast as the slowest."""
    shown = settings[:MOST_BARS]
    figure, axes = _bars(len(shown))
    known = [estimate(setting.all_of(comparison.time.name)) for setting in shown]
    means = [one.mean if one else 0.0 for one in known]
    axes.barh(range(len(shown)), means, color=COLOURS[5], edgecolor=INK, linewidth=0.5)
    _error_bars(axes, means, known)
    slowest = max(means)
    for place, (value, one) in enumerate(zip(means, known, strict=True)):
        factor = f"{slowest / value:.3g} times as fast" if value < slowest else "slowest"
        reach = value + (one.half_width or 0.0 if one else 0.0)
        axes.annotate(
            f"{value:.{decimals(value)}f} s, {factor}",
            (reach, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    _name_bars(axes, [setting.name for setting in shown])
    axes.margins(x=0.4)
    axes.set_xlabel(f"{comparison.time.title} (s)")
    caption = f"Speed by {key}{_bars_mean(settings)}"
    return Picture(_file_name(key), _cut(caption, len(settings), MOST_BARS), figure)


def _learning(comparison: Comparison, settings: Sequence[Setting]) -> Picture:
    """Loss and accuracy over epochs and over time."""
    shown = settings[:MOST_LINES]
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    quality = comparison.quality.name
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, metric in enumerate(("train/loss", quality)):
        looks = _looks()
        for setting in shown:
            points = _mean_curve(setting.completed, metric)
            look = next(looks)
            for column, axes in enumerate(panels[row]):
                label = _short(setting.name) if row == column == 0 else None
                xs = [point[column] for point in points]
                axes.plot(xs, [point[2] for point in points], label=label, **look)
                if len(setting.completed) > 1:
                    lowest, highest = ([point[end] for point in points] for end in (3, 4))
                    axes.fill_between(xs, lowest, highest, color=look["color"], alpha=0.15, lw=0)
        panels[row][0].set_ylabel(metric)
        if metric.endswith("accuracy"):
            _in_percent(panels[row][0])
        for axes in panels[row]:
            axes.grid(alpha=0.25, color=INK, linewidth=0.5)
    panels[1][0].set_xlabel("epochs")
    panels[1][0].xaxis.get_major_locator().set_params(integer=True)
    panels[1][1].set_xlabel("time since the first step (s)")
    figure.legend(loc="outside upper center", ncols=2 if len(shown) > 3 else 3, fontsize=9)
    caption = "Learning over epochs, and over time: means over the completed runs"
    if any(len(setting.completed) > 1 for setting in shown):
        caption += ", in bands from the lowest run to the highest"
    return Picture("learning", _cut(caption, len(settings), MOST_LINES), figure)


def _time_to_reach(settings: Sequence[Setting]) -> Picture | None:
    """Bars of the time until the accuracy that half of the settings reach."""
    target = accuracy_to_reach(settings)
    times = {s.name: [time_to_reach(run, target) for run in s.completed] for s in settings}
    known = {name: estimate([t for t in of if t is not None]) for name, of in times.items()}
    if not target or len(settings) < 2:
        return None
    # of a setting whose runs did not all reach it, the mean would be that of its lucky ones
    always = {name: one for name, one in known.items() if one and one.n == len(times[name])}
    shown = sorted(times, key=lambda name: always[name].mean if name in always else float("inf"))
    shown = shown[:MOST_BARS]
    figure, axes = _bars(len(shown))
    means = [always[name].mean if name in always else 0.0 for name in shown]
    axes.barh(range(len(shown)), means, color=COLOURS[5], edgecolor=INK, linewidth=0.5)
    _error_bars(axes, means, [always.get(name) for name in shown])
    for place, name in enumerate(shown):
        one = known[name]
        text, reach = "not reached", 0.0
        if name in always:
            reach = always[name].mean + (always[name].half_width or 0.0)
            text = f"{means[place]:.{decimals(means[place])}f} s"
        elif one is not None:
            text = f"reached by {one.n} of {counted(len(times[name]), 'run')}"
        axes.annotate(text, (reach, place), xytext=(4, 0), textcoords="offset points", va="center")
    _name_bars(axes, shown)
    axes.margins(x=0.25)
    axes.set_xlabel(f"time until {ACCURACY} is {target:.0%} (s)")
    caption = (
        f"Time to reach {ACCURACY} of {target:.0%}: from the first step to the end of the epoch "
        "that reached it"
    )
    return Picture("time_to_accuracy", _cut(caption, len(times), MOST_BARS), figure)


def accuracy_to_reach(settings: Sequence[Setting]) -> float:
    """In whole percent: what all runs reach where they are alike, else what half of them reach."""
    best = sorted(
        max((epoch.metrics.get(ACCURACY) or 0.0 for epoch in run.record.epochs), default=0.0)
        for setting in settings
        for run in setting.completed
    )
    if not best:
        return 0.0
    reached = best[0] if best[0] >= 0.8 * best[-1] else best[len(best) // 2]
    return int(100 * reached) / 100


def time_to_reach(run: Run, target: float) -> float | None:
    """Seconds of training until the end of the first epoch that reached an accuracy."""
    elapsed = 0.0
    for epoch in run.record.epochs:
        elapsed += epoch.time["epoch_s"] or 0.0
        if (epoch.metrics.get(ACCURACY) or 0.0) >= target:
            return elapsed
    return None


def _mean_curve(runs: Sequence[Run], metric: str) -> list[tuple[float, ...]]:
    """Epoch counted from 1, mean time since the first step, the metric's mean, lowest, highest."""
    points: list[tuple[float, ...]] = []
    elapsed = [0.0] * len(runs)
    for index in range(min((len(run.record.epochs) for run in runs), default=0)):
        epochs: list[EpochRecord] = [run.record.epochs[index] for run in runs]
        elapsed = [t + (e.time["epoch_s"] or 0.0) for t, e in zip(elapsed, epochs, strict=True)]
        values = [v for epoch in epochs if (v := epoch.metrics.get(metric)) is not None]
        if values:
            x = index + 1.0, mean(elapsed) or 0.0
            points.append((*x, mean(values) or 0.0, min(values), max(values)))
    return points


def _line(
    axes: Axes,
    settings: Sequence[Setting],
    key: str,
    measure: str,
    label: str,
    look: dict[str, object],
) -> None:
    known = [(number(s, key), estimate(s.all_of(measure))) for s in settings]
    points = [(x, one) for x, one in known if one is not None]
    axes.errorbar(
        [x for x, _ in points],
        [one.mean for _, one in points],
        yerr=[one.half_width or 0.0 for _, one in points],
        label=_short(label),
        capsize=3,
        **look,  # type: ignore[arg-type]
    )


def _looks() -> Iterator[dict[str, object]]:
    """How lines look: no two alike in colour, dashes and marker."""
    for index in itertools.count():
        yield {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": DASHES[index % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
            "markersize": 5,
        }


def _bars(count: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 1.4 + 0.36 * count), layout="constrained")
    return figure, figure.subplots()


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()


def _error_bars(axes: Axes, ends: Sequence[float], known: Sequence[Estimate | None]) -> None:
    for place, (end, one) in enumerate(zip(ends, known, strict=True)):
        if one is not None and one.half_width:
            width = one.half_width
            axes.errorbar(end, place, xerr=width, fmt="none", ecolor=INK, capsize=3, linewidth=1)


def _in_percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _bars_mean(settings: Sequence[Setting]) -> str:
    """What error bars are, where there are any."""
    repeated = any(len(setting.completed) > 1 for setting in settings)
    return "; bars are 95 % intervals over the runs" if repeated else "; one run each"


def _cut(caption: str, count: int, most: int) -> str:
    return caption if count <= most else f"{caption}; the first {most} of {count:,} are shown"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _file_name(key: str) -> str:
    return "by_" + "".join(c if c.isalnum() else "_" for c in key)
