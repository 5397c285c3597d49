"""The picture of how time and memory grow: a column for each of what grows."""

from collections.abc import Mapping
from statistics import median
from typing import Any

import matplotlib
from growth_page import PIPELINES, Seen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from hpml.report.drawing import CROWDED, MOST_TICKS, STYLE, looks

# Of each column: what grows, what the time is of, and its lines, each a curve and a figure.
COLUMNS: list[tuple[str, str, dict[str, tuple[str, str]]]] = [
    ("batch size", "ms a sample", {"": ("batch", "sample_ms")}),
    (
        "data-set size",
        "s",
        {
            "making it": ("set", "made_s"),
            "waiting in an epoch": ("set", "waiting_s"),
            "an epoch's order": ("set", "order_s"),
        },
    ),
    ("image size (pixels square)", "ms a sample", {"": ("image", "sample_ms")}),
    ("workers", "ms a sample", {name: (name, "sample_ms") for name in PIPELINES}),
    ("jobs", "s a job", {"a sweep": ("sweep", "wall_s"), "its composing": ("dry", "wall_s")}),
]


def draw(seen: Seen, memory: str) -> Figure:
    """Time above, peak memory below; `memory` is the figure of batch size and image size."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(15, 6), layout="constrained")
        for (above, below), (what, unit, lines) in zip(
            figure.subplots(2, len(COLUMNS)).T, COLUMNS, strict=True
        ):
            known = {label: line for label, line in lines.items() if seen[line[0]]}
            curves = {curve: label for label, (curve, _) in reversed(known.items())}
            for (label, (curve, time)), look in zip(known.items(), looks(), strict=False):
                _line(above, seen[curve], time, label, look, each=unit == "s a job")
                if curves.get(curve) == label:
                    held = {"batch": memory, "image": memory}.get(curve, "host_mib")
                    held = "launcher_mib" if time == "wall_s" else held
                    _line(below, seen[curve], held, label, look)
            above.set_title(what)
            above.set_ylabel(f"time ({unit})")
            below.set_ylabel("peak memory (MiB)")
            below.set_xlabel(what)
            for axes in (above, below):
                _scale(axes, sorted({x for curve in curves for x in seen[curve]}), what)
            if len(known) > 1:
                above.legend(fontsize=8)
    return figure


def _line(
    axes: Axes,
    points: Mapping[int, Mapping[str, list[float]]],
    figure: str,
    label: str,
    look: dict[str, Any],
    each: bool = False,
) -> None:
    """Medians, with error bars from the lowest to the highest; `each` divides by what grows."""
    xs = sorted(x for x in points if points[x][figure])
    values = [[value / (x if each else 1) for value in points[x][figure]] for x in xs]
    middle = [median(one) for one in values]
    below = [mid - min(one) for mid, one in zip(middle, values, strict=True)]
    above = [max(one) - mid for mid, one in zip(middle, values, strict=True)]
    axes.errorbar(xs, middle, yerr=[below, above], label=label, capsize=3, **look)


def _scale(axes: Axes, xs: list[int], what: str) -> None:
    """Logarithmic, but for workers, of which there may be none, and for what grows by little."""
    if what != "workers":
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if axes.dataLim.y1 > CROWDED * axes.dataLim.y0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    if len(xs) <= MOST_TICKS:
        shown = [f"{x // 1000}k" if x >= 5000 else f"{x}" for x in xs]
        axes.set_xticks(xs, shown, rotation=45 if len(xs) > 6 else 0, fontsize=8)
