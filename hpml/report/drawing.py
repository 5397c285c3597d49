"""How the report's pictures look. They read without colour too: by hatches, dashes and markers."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpml.statistics import Estimate

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
BAR = "#56b4e9"
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
LONGEST_NAME = 44
LEGEND_WIDTH = 130  # characters
MOST_TICKS = 12
CROWDED = 20  # how many times as large the largest value is: then they stand on a logarithmic axis


def bars(
    names: Sequence[str],
    ends: Sequence[float],
    known: Sequence[Estimate | None],
    texts: Sequence[str],
) -> tuple[Figure, Axes]:
    """Horizontal bars' axes: names, error bars and texts, for the bars themselves to be drawn in.

    Error bars of what cannot be negative begin at 0.
    """
    figure = Figure(figsize=(8, 1.4 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    for place, (end, one, text) in enumerate(zip(ends, known, texts, strict=True)):
        reach = end
        if one is not None and one.half_width:
            reach = end + one.half_width
            below = min(one.half_width, end)
            widths = [[below], [one.half_width]]
            axes.errorbar(end, place, xerr=widths, fmt="none", ecolor=INK, capsize=3, linewidth=1)
        axes.annotate(text, (reach, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    return figure, axes


def room_for_texts(axes: Axes, texts: Sequence[str]) -> None:
    """Widens the axes by what the texts behind the bars need."""
    axes.set_xlim(0, axes.dataLim.x1 * (1.02 + 0.016 * max(map(len, texts))) or 1.0)


def looks() -> Iterator[dict[str, Any]]:
    """How lines look: no two alike in colour, dashes and marker."""
    for index in itertools.count():
        yield {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": DASHES[index % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
            "markersize": 5,
        }


def line(axes: Axes, points: Sequence[tuple[float, Estimate]], label: str, look: Any) -> None:
    """A line with error bars; those of what is not negative do not go below 0."""
    below = [
        min(one.half_width or 0.0, one.mean) if one.mean >= 0 else one.half_width or 0.0
        for _, one in points
    ]
    above = [one.half_width or 0.0 for _, one in points]
    xs, means = [x for x, _ in points], [one.mean for _, one in points]
    axes.errorbar(xs, means, yerr=[below, above], label=shortened(label), capsize=3, **look)


def spread_ticks(axes: Axes, values: Sequence[float]) -> None:
    """The axis of a swept number: its values as ticks, far ones on a logarithmic scale."""
    positive = [value for value in values if value > 0]
    if positive and values[0] >= 0 and values[-1] > CROWDED * positive[0]:
        if values[0] == 0:
            axes.set_xscale("symlog", linthresh=positive[0])
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
    for size, name in ((3600.0, "h"), (60.0, "min")):
        if longest_s > 3 * size:
            return size, name
    return 1.0, "s"


def legend_above(figure: Figure, names: Sequence[str]) -> None:
    """A legend in as many columns as its names, shortened, have room for."""
    longest = max(len(shortened(name)) for name in names)
    columns = max(1, min(len(names), LEGEND_WIDTH // (longest + 8)))
    legend = figure.legend(loc="outside upper center", ncols=columns, fontsize=9)
    for text in legend.get_texts():
        text.set_text(shortened(text.get_text()))


def shortened(name: str) -> str:
    """A name that fits: where it is too long its middle goes, since the ends tell more."""
    if len(name) <= LONGEST_NAME:
        return name
    half = LONGEST_NAME // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def whole_percent(share: float) -> float:
    """A fraction of 1 rounded down to hundredths."""
    return math.floor(100 * share + 1e-9) / 100
