"""How the report's pictures look. They read without colour too: by hatches, dashes and markers."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpml.formatting import decimals
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
LONGEST_NAME = 44
LEGEND_WIDTH = 130  # characters
MOST_TICKS = 12
CROWDED = 20  # how many times as large the largest value is: then they stand on a logarithmic axis


def bars(
    names: Sequence[str],
    times: Sequence[Estimate | None],
    title: str,
    notes: Sequence[str] = (),
    parts: Sequence[tuple[Sequence[float], dict[str, Any]]] = (),
) -> Figure:
    """Horizontal bars of times in seconds, with error bars, their figures and notes behind them.

    Error bars do not go below 0. Of a time whose `n` is 0 only the note is written. `parts` are the
    seconds and looks of what the bars are made of, not a number for none; without them they have
    one colour.
    """
    figure = Figure(figsize=(8, 1.4 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    size, unit = time_unit(max(time.mean for time in times if time))
    scaled = [time.in_units(size) if time else Estimate(0.0, None, 0) for time in times]
    texts = [
        f"{time.mean:.{decimals(time.mean)}f} {unit}{note}" if time.n else note
        for time, note in zip(scaled, notes or [""] * len(names), strict=True)
    ]
    for place, (time, text) in enumerate(zip(scaled, texts, strict=True)):
        end, half_width = time.mean, time.half_width or 0.0
        if half_width:
            reach = [[min(half_width, end)], [half_width]]
            axes.errorbar(end, place, xerr=reach, fmt="none", ecolor=INK, capsize=3, linewidth=1)
        behind = (end + half_width, place)
        axes.annotate(text, behind, xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
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
    means = [estimate.mean for _, estimate in points]
    above = [estimate.half_width or 0.0 for _, estimate in points]
    below = [min(a, mean) if mean >= 0 else a for a, mean in zip(above, means, strict=True)]
    xs = [x for x, _ in points]
    axes.errorbar(xs, means, yerr=[below, above], label=shortened(label), capsize=3, **look)


def spread_ticks(axes: Axes, values: Sequence[float]) -> None:
    """The axis of a swept number: its values as ticks, far ones on a logarithmic scale."""
    least = next((value for value in values if value > 0), math.inf)
    if values[0] >= 0 and values[-1] > CROWDED * least:
        if values[0] == 0:
            axes.set_xscale("symlog", linthresh=least)
        else:
            axes.set_xscale("log")
        axes.minorticks_off()
    if len(values) <= MOST_TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])


def in_percent(axes: Axes) -> None:
    """Fractions of 1 on the vertical axis as per cent."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def time_unit(longest_s: float) -> tuple[float, str]:
    """Seconds in a unit that keeps an axis's figures short, and its name."""
    units = ((3600.0, "h"), (60.0, "min"))
    return next((unit for unit in units if longest_s > 3 * unit[0]), (1.0, "s"))


def legend_above(figure: Figure, names: Sequence[str]) -> None:
    """A legend in as many columns as its names, shortened, have room for."""
    longest = max(len(shortened(name)) for name in names)
    columns = max(1, min(len(names), LEGEND_WIDTH // (longest + 8)))
    legend = figure.legend(loc="outside upper center", ncols=columns, fontsize=9)
    for text in legend.get_texts():
        text.set_text(shortened(text.get_text()))


def shortened(name: str) -> str:
    """A name that fits: where it is too long its middle goes, since the ends tell more."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
