"""How the report's pictures look. They read without colour too: by hatches, dashes and markers."""

import itertools
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
    estimates: Sequence[Estimate | None],
    texts: Sequence[str],
    label: str,
    parts: Sequence[tuple[Sequence[float], dict[str, Any]]] = (),
) -> Figure:
    """Horizontal bars with names, error bars and texts behind them, over a labelled axis.

    Error bars of what cannot be negative begin at 0. `parts` are the widths and looks of what the
    bars are made of; without them they have one colour.
    """
    figure = Figure(figsize=(8, 1.4 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    ends = [estimate.mean if estimate else 0.0 for estimate in estimates]
    for place, (end, estimate, text) in enumerate(zip(ends, estimates, texts, strict=True)):
        half_width = (estimate.half_width if estimate else None) or 0.0
        if half_width:
            reach = [[min(half_width, end)], [half_width]]
            axes.errorbar(end, place, xerr=reach, fmt="none", ecolor=INK, capsize=3, linewidth=1)
        behind = (end + half_width, place)
        axes.annotate(text, behind, xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    left = [0.0] * len(names)
    for widths, look in parts or [(ends, {"color": BAR})]:
        axes.barh(range(len(names)), widths, left=left, edgecolor=INK, linewidth=0.5, **look)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    room = 1.02 + 0.016 * max(map(len, texts))
    axes.set_xlim(0, axes.dataLim.x1 * room or 1.0)
    axes.set_xlabel(label)
    return figure


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
    means = [estimate.mean for _, estimate in points]
    above = [estimate.half_width or 0.0 for _, estimate in points]
    below = [min(a, mean) if mean >= 0 else a for a, mean in zip(above, means, strict=True)]
    xs = [x for x, _ in points]
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
