"""Pictures of one run: its epochs, its steps, its live windows, its memory."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from hpml.formatting import counted
from hpml.records.phases import PHASES
from hpml.records.run_record import EpochRecord
from hpml.report.collect import Run
from hpml.report.picture_style import (
    COLOURS,
    CROWDED,
    INK,
    STYLE,
    in_percent,
    legend_above,
    time_unit,
)
from hpml.report.pictures import Picture
from hpml.report.run.facts import QUANTILES, marks, unknown_s
from hpml.report.run.rank_picture import draw_ranks

MOST_BARS, MOST_BINS, MOST_BORDERS = 60, 50, 30
UNKNOWN = {"label": "not told apart", "color": "none", "hatch": "++"}
LEAST_RATIO = 1.005
Bars = list[tuple[dict[str, Any], np.ndarray]]  # of each part: how it looks, and a length a bar


def draw_run(run: Run) -> Iterator[Picture]:
    """Each picture for which the record has something to show, one at a time."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        drawn = (picture(run) for picture in (_epochs, draw_ranks, _steps, _windows, _memory))
        yield from (picture for picture in drawn if picture is not None)


def _epochs(run: Run) -> Picture | None:
    """Where each epoch goes; on a GPU beside it what that did meanwhile."""
    epochs = [epoch for epoch in run.record.epochs if epoch.time["epoch_s"]]
    if not epochs:
        return None
    groups = _grouped(epochs)
    panels = {"time of an epoch": _bars(groups, lambda e, phase: e.time[phase.key])}
    panels["time of an epoch"].append((UNKNOWN, _means(groups, unknown_s)))
    if any(epoch.device_time for epoch in epochs):
        panels["of it, by the GPU's own clock"] = _bars(
            groups, lambda e, phase: (e.device_time or {}).get(f"{phase.device_kind}_s")
        )
    wide = len(panels) > 1 or len(groups) > 12
    figure = Figure(figsize=(9 if wide else 7, 3.8), layout="constrained")
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    size, unit = time_unit(max(float(epoch.time["epoch_s"] or 0.0) for epoch in epochs))
    names = []
    for axes, (title, parts) in zip(places, panels.items(), strict=True):
        ends = np.zeros(len(groups))
        for look, lengths_s in parts:
            if look is UNKNOWN and not lengths_s.any():
                continue
            shown = look if look["label"] not in names else look | {"label": None}
            names.append(str(look["label"]))
            lengths = lengths_s / size
            at = range(len(groups))
            axes.bar(at, lengths, 0.8, ends, edgecolor=INK, linewidth=0.5, **shown)
            ends = ends + lengths
        _number(axes, groups)
        axes.set_ylabel(f"{title} ({unit})")
        axes.yaxis.set_tick_params(labelleft=True)
    for place, group in enumerate(groups):
        if text := "".join(sorted({mark for epoch in group for mark in marks(epoch)})):
            height = sum(lengths_s[place] for _, lengths_s in panels["time of an epoch"]) / size
            above = {"xytext": (0, 1), "textcoords": "offset points", "ha": "center"}
            places[0].annotate(text, (place, height), **above)
    legend_above(figure, list(dict.fromkeys(names)))
    caption = "Where each epoch's time goes"
    if len(groups) < len(epochs):
        caption += f": means of {len(groups[0])} epochs side by side, of {len(epochs):,}"
    return Picture("phases", caption + _what_marks_are(epochs), figure)


def _steps(run: Run) -> Picture | None:
    """How long the steps took: all of them together, and their quantiles over the epochs."""
    epochs = [epoch for epoch in run.record.epochs if epoch.step_ms]
    if not epochs:
        return None
    counts = Counter[float]()
    for epoch in epochs:
        counts.update({float(ms): n for ms, n in (epoch.step_counts or {}).items() if n > 0})
    several = len(epochs) > 1 or not counts
    panels = bool(counts) + several
    figure = Figure(figsize=(4.7 * panels if panels > 1 else 7, 3.6), layout="constrained")
    places = [*figure.subplots(1, panels, squeeze=False)[0]]
    if counts:
        _histogram(places[0], counts)
    if several:
        _quantiles(places[-1], epochs)
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 4}
        places[-1].legend(fontsize=9, columnspacing=1.0, **above)
    steps = counted(counts.total(), "step") if counts else "the steps"
    caption = f"How long {steps} took, without each epoch's first and without validation"
    return Picture("steps", caption, figure)


def _windows(run: Run) -> Picture | None:
    """The shares of the phases while the run went on, and its speed."""
    columns = run.record.windows
    if columns is None:
        return None
    seconds = np.array([columns[phase.key] for phase in PHASES], dtype=float)
    seconds = np.nan_to_num(seconds)
    lasted = seconds.sum(axis=0)
    if not (lasted > 0).all() or not np.isfinite(lasted).all():
        return None
    epochs = run.record.epochs
    begun_s = (epochs[0].first_batch_s or 0.0) if epochs else 0.0
    ends = begun_s + np.concatenate([[0.0], lasted.cumsum()])
    size, unit = time_unit(float(ends[-1]))
    samples = np.array(columns["samples"], dtype=float)
    panels = 1 + bool(np.isfinite(samples).any())
    figure = Figure(figsize=(9, 1.6 + 1.7 * panels), layout="constrained")
    places = [*figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]]
    edges = np.repeat(ends / size, 2)[1:-1]
    below = np.zeros(len(edges))
    for phase, row in zip(PHASES, seconds / lasted, strict=True):
        above = below + np.repeat(row, 2)
        look = {"facecolor": phase.colour, "hatch": phase.hatch, "edgecolor": INK}
        places[0].fill_between(edges, below, above, label=phase.title, linewidth=0.3, **look)
        below = above
    places[0].set_ylim(0, 1)
    places[0].set_ylabel("share of time")
    in_percent(places[0].yaxis)
    if panels > 1:
        speed = samples / lasted
        places[1].plot(edges, np.repeat(speed, 2), color=COLOURS[0])
        places[1].set_ylim(0, 1.08 * float(np.nanmax(speed)) or 1.0)
        places[1].set_ylabel("samples/s")
        places[1].grid(alpha=0.25, color=INK, linewidth=0.5)
    caption = f"Live windows of {_range(columns['steps'])} steps"
    if _mark_borders(places, run, float(ends[-1]), size):
        caption += "; dotted: an epoch ends"
    places[-1].set_xlim(ends[0] / size, ends[-1] / size)
    places[-1].set_xlabel(f"time since the first epoch began ({unit})")
    legend_above(figure, [phase.title for phase in PHASES])
    return Picture("windows", caption, figure)


def _memory(run: Run) -> Picture | None:
    epochs = [epoch for epoch in run.record.epochs if epoch.peak_memory_mib is not None]
    if not epochs:
        return None
    groups = _grouped(epochs)
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    peaks = [max(epoch.peak_memory_mib or 0.0 for epoch in group) for group in groups]
    axes.plot(range(len(groups)), peaks, color=COLOURS[0], marker="o", markersize=4)
    axes.set_ylim(0, 1.1 * max(peaks) or 1.0)
    axes.set_ylabel("peak memory (MiB)")
    axes.grid(alpha=0.25, color=INK, linewidth=0.5)
    _number(axes, groups)
    on_gpu = str(run.record.environment.get("device")).startswith("cuda")
    whose = "allocated on the GPU" if on_gpu else "resident in the process, its workers apart"
    return Picture("memory", f"The most memory so far, {whose}", figure)


def _grouped(epochs: Sequence[EpochRecord]) -> list[Sequence[EpochRecord]]:
    """Epochs side by side, of which each bar is one group: as few as there is room for."""
    size = math.ceil(len(epochs) / MOST_BARS)
    return [epochs[place : place + size] for place in range(0, len(epochs), size)]


def _means(
    groups: Sequence[Sequence[EpochRecord]], read: Callable[[EpochRecord], float | None]
) -> np.ndarray:
    return np.array([fmean(read(epoch) or 0.0 for epoch in group) for group in groups])


def _bars(groups: Sequence[Sequence[EpochRecord]], read: Callable[[Any, Any], Any]) -> Bars:
    looks = (phase.look for phase in PHASES)
    lengths = (_means(groups, lambda epoch, p=phase: read(epoch, p)) for phase in PHASES)  # type: ignore[misc]
    return list(zip(looks, lengths, strict=True))


def _number(axes: Axes, groups: Sequence[Sequence[EpochRecord]]) -> None:
    """The epochs' numbers, those of the groups' first ones, as ticks: as many as there is room."""
    step = math.ceil(len(groups) / 12)
    places = range(0, len(groups), step)
    axes.set_xticks(places, [str(groups[place][0].epoch) for place in places])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xlabel("epoch")


def _histogram(axes: Axes, counts: Counter[float]) -> None:
    """Bars over lengths of steps, each as much wider than the one before as their buckets are."""
    lengths = np.array(sorted(counts))
    ratios = lengths[1:] / lengths[:-1]
    bucket = math.log(max(LEAST_RATIO, min(ratios, default=1.01)))
    cells = np.round(np.log(lengths / lengths[0]) / bucket).astype(int)
    joined = int(cells[-1]) // MOST_BINS + 1
    sums = Counter[int]()
    for cell, ms in zip(cells, lengths, strict=True):
        sums[int(cell) // joined] += counts[float(ms)]
    lowest = math.log(lengths[0]) - bucket / 2
    edges = [math.exp(lowest + bucket * joined * place) for place in range(max(sums) + 2)]
    heights = [float(sums[place]) for place in range(max(sums) + 1)]
    axes.stairs(heights, edges, fill=True, facecolor=COLOURS[5], edgecolor=INK, linewidth=0.5)
    if edges[-1] > CROWDED * edges[0]:
        _logarithmic(axes, "x")
    axes.set_xlabel("length of a step (ms)")
    axes.set_ylabel("steps")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _quantiles(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    groups = _grouped(epochs)
    p50, p95, p99, longest = (
        [fmean((epoch.step_ms or {})[name] for epoch in group) for group in groups]
        for name in QUANTILES
    )
    at = range(len(groups))
    looks: dict[str, Any] = {"color": COLOURS[0], "markersize": 4}
    axes.plot(at, longest, "x", label="longest", **looks)
    axes.plot(at, p99, ":", marker="^", label="99 %", **looks)
    axes.plot(at, p95, "--", marker="s", label="95 %", **looks)
    axes.plot(at, p50, "-", marker="o", label="half", **looks)
    axes.fill_between(at, p50, p99, color=COLOURS[5], alpha=0.3, linewidth=0)
    if min(p50) > 0 and max(longest) > CROWDED * min(p50):
        _logarithmic(axes, "y")
    else:
        axes.set_ylim(0, 1.25 * max(longest) or 1.0)
    axes.set_ylabel("as long at most (ms)")
    _number(axes, groups)


def _logarithmic(axes: Axes, name: str) -> None:
    axes.set(**{f"{name}scale": "log"})
    axis = getattr(axes, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _mark_borders(places: Sequence[Axes], run: Run, until_s: float, size: float) -> bool:
    """Where epochs ended; a resumed run's windows have gaps, and too many would be a wall."""
    record = run.record
    times = [epoch.time["epoch_s"] or 0.0 for epoch in record.epochs]
    borders = [end for end in itertools.accumulate(times) if end < until_s]
    if record.resumed or not 0 < len(borders) <= MOST_BORDERS:
        return False
    for axes in places:
        for border in borders:
            axes.axvline(border / size, color=INK, linestyle=":", linewidth=1)
    return True


def _range(values: Sequence[float | None]) -> str:
    known = sorted({int(value) for value in (values[0], values[-1], *values) if value is not None})
    return " to ".join(f"{value:,}" for value in dict.fromkeys((known[0], known[-1])))


def _what_marks_are(epochs: Sequence[EpochRecord]) -> str:
    there = {mark for epoch in epochs for mark in marks(epoch)}
    words = {"!": "disturbed by others", "*": "cut short, or resumed"}
    return "".join(f"; {mark} {text}" for mark, text in words.items() if mark in there)
