"""How the report's pictures look. They read without colour too: by hatches, dashes and markers."""

import itertools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from hpml.formatting import decimals
from hpml.report.labels import in_lines, longest_line, most_lines
from hpml.statistics import Estimate

# In the page, what is drawn in it takes the colour of the text.
INK = "#1b1b1a"
PAPER = "#ffffff"
STYLE = {
    **dict.fromkeys(("font.size", "axes.titlesize"), 10),
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), PAPER),
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar in an override is one
}
# Colours that the colour-blind tell apart: Okabe and Ito (2008), "Color Universal Design".
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")
BAR = "#56b4e9"
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
LINE_INCHES = 0.17
LEGEND_WIDTH = 130  # characters
MOST_TICKS = 12
LONGEST_TICK = 7  # characters
CROWDED = 20  # how many times as large as the other one a number is


def bars(
    names: Sequence[str],
    times: Sequence[Estimate | None],
    title: str,
    notes: Sequence[str] = (),
    parts: Sequence[tuple[Sequence[float], dict[str, Any]]] = (),
) -> Figure:
    """Horizontal bars of times in seconds, with error bars, their figures and notes behind them.

    Error bars do not go below 0, and are the runs' range where the interval is wide. Of a time
    whose `n` is 0 only the note is written. `parts` are the seconds and looks of what the bars are
    made of, not a number for none; without them they have one colour.
    """
    names = in_lines(names)
    row = max(0.36, 0.1 + LINE_INCHES * most_lines(names))
    figure = Figure(figsize=(8, 1.4 + row * len(names)), layout="constrained")
    axes = figure.subplots()
    size, unit = time_unit(max(time.mean for time in times if time))
    scaled = [time.in_units(size) if time else Estimate(0.0, None, 0) for time in times]
    texts = [
        f"{time.mean:.{decimals(time.mean)}f} {unit}{note}" if time.n else note
        for time, note in zip(scaled, notes or [""] * len(names), strict=True)
    ]
    for place, (time, text) in enumerate(zip(scaled, texts, strict=True)):
        low, high = time.ends
        if high > low:
            reach = [[min(time.mean - low, time.mean)], [high - time.mean]]
            axes.errorbar(time.mean, place, xerr=reach, fmt="none", ecolor=INK, capsize=3, lw=1)
        behind = (high, place)
        axes.annotate(text, behind, xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    left = np.zeros(len(names))
    whole = [time.mean if time else 0.0 for time in times]
    for lengths_s, look in parts or [(whole, {"color": BAR})]:
        widths = np.divide(lengths_s, size)
        drawn: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.5} | look
        axes.barh(range(len(names)), widths, left=left, **drawn)
        left = left + np.nan_to_num(widths)
    room = 1.02 + 0.016 * max(map(len, texts))
    axes.set_xlim(0, axes.dataLim.x1 * room or 1.0)
    axes.set_xlabel(f"{title} ({unit})")
    return figure


def looks() -> Iterator[dict[str, Any]]:
    """How lines look: no two alike in colour, dashes and marker."""
    alike = zip(*map(itertools.cycle, (COLOURS, DASHES, MARKERS)), strict=True)
    for color, dashes, marker in alike:
        yield {"color": color, "linestyle": dashes, "marker": marker, "markersize": 5}


def line(axes: Axes, points: Sequence[tuple[float, Estimate]], label: str, look: Any) -> None:
    """A line with error bars; those of what is not negative do not go below 0."""
    means, ends = zip(*((estimate.mean, estimate.ends) for _, estimate in points), strict=True)
    above = [high - mean for mean, (_, high) in zip(means, ends, strict=True)]
    below = [
        mean - (max(0.0, low) if mean >= 0 else low)
        for mean, (low, _) in zip(means, ends, strict=True)
    ]
    xs = [x for x, _ in points]
    axes.errorbar(xs, means, yerr=[below, above], label=label, capsize=3, **look)


def spread_ticks(axes: Axes, values: Sequence[float]) -> None:
    """The axis of a swept number: on a logarithmic scale where its values spread so.

    They are the ticks where there are few, of few digits.
    """
    if is_logarithmic(values):
        if values[0] == 0:
            axes.set_xscale("symlog", linthresh=next(value for value in values if value > 0))
        else:
            axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # not by mathtext
    texts = [f"{value:g}" for value in values]
    if len(values) <= MOST_TICKS and max(map(len, texts)) <= LONGEST_TICK:
        axes.set_xticks(values, texts)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether sorted numbers that are not negative spread more evenly by their logarithms.

    That is how they were swept: the widest gap between two of them is a smaller part of the whole.
    Two alone tell it where one is CROWDED times the other.
    """
    above = [value for value in values if value > 0]
    if values[0] < 0 or len(above) < 2:
        return False
    if len(above) == 2:
        return above[1] > CROWDED * above[0]
    by_scale = (above, [math.log(value) for value in above])
    linear, logarithmic = (
        max(b - a for a, b in pairwise(of)) / (of[-1] - of[0]) for of in by_scale
    )
    return logarithmic < linear


def in_percent(axis: Axis) -> None:
    """Fractions of 1 on an axis as per cent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def time_unit(longest_s: float) -> tuple[float, str]:
    """Seconds in a unit that keeps an axis's figures short, and its name."""
    units = ((3600.0, "h"), (60.0, "min"))
    return next((unit for unit in units if longest_s > 3 * unit[0]), (1.0, "s"))


def legend_above(figure: Figure, names: Sequence[str]) -> None:
    """A legend in as many columns as its names, in their lines, have room for.

    The figure grows by what stands above one line of names.
    """
    columns = max(1, min(len(names), LEGEND_WIDTH // (longest_line(names) + 8)))
    lines = math.ceil(len(names) / columns) * most_lines(names)
    figure.set_figheight(figure.get_figheight() + LINE_INCHES * (lines - 1))
    figure.legend(loc="outside upper center", ncols=columns, fontsize=9)
