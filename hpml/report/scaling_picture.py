"""A picture of what more processes bring: the speed-up beside the ideal one, and what is lost."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpml.records.phases import PHASES
from hpml.report.picture_style import COLOURS, INK, STYLE, in_percent, legend_above, looks
from hpml.report.pictures import Picture, disturbed_ones, what_bars_are
from hpml.report.scaling import EXCHANGE, PARTS, Line, Point

MOST_LINES, MOST_BARS = 8, 16
LOOKS = {phase.title: phase.look for phase in PHASES}
LOOKS[EXCHANGE] = {"label": EXCHANGE, "color": COLOURS[0], "hatch": "||"}


def draw_scaling(lines: Sequence[Line]) -> Picture | None:
    """Speed-up against the number of processes, and by what their time is lost."""
    if not lines:
        return None
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        return _drawn(lines)


def _drawn(lines: Sequence[Line]) -> Picture:
    height = max(4, 2 + 0.25 * len(_bars(lines)))  # inches
    figure = Figure(figsize=(10, height), layout="constrained")
    left, right = figure.subplots(1, 2)
    _speed_ups(left, lines[:MOST_LINES])
    _losses(right, lines)
    legend_above(figure, [*(line.name for line in lines[:MOST_LINES]), *PARTS])
    left_out = f"; the first {MOST_LINES} of {len(lines)} lines" * (len(lines) > MOST_LINES)
    caption = "What more processes bring, and by what the rest of their time is lost"
    settings = {id(p.setting): p.setting for line in lines for p in line.points}.values()
    caption += what_bars_are([*settings]) + disturbed_ones([*settings], lines[0].measure.name)
    return Picture("scaling", caption + left_out, figure)


def _speed_ups(axes: Axes, lines: Sequence[Line]) -> None:
    most = max(line.points[-1].processes for line in lines)
    fewest = min(line.points[0].processes for line in lines)
    ideal = np.array([fewest, most])
    axes.plot(ideal, ideal / fewest, color=INK, linestyle=(0, (1, 2)), linewidth=1)
    axes.annotate("ideal", (most, most / fewest), ha="right", va="bottom", xytext=(-6, 0),
                  textcoords="offset points")  # fmt: skip
    for line, look in zip(lines, looks(), strict=False):
        at = [point.processes for point in line.points]
        ups = [line.speed_up(point) for point in line.points]
        reach = [_reach(line, point) for point in line.points]
        axes.errorbar(at, ups, np.transpose(reach), label=line.name, capsize=3, **look)
        for point, up in zip(line.points, ups, strict=True):
            axes.annotate(_mark(point), (point.processes, up), xytext=(6, 4), weight="bold",
                          textcoords="offset points")  # fmt: skip
    axes.set_xticks(sorted({point.processes for line in lines for point in line.points}))
    axes.set_xlabel("processes")
    axes.set_ylabel("times as fast")
    axes.set_ylim(bottom=0)


def _reach(line: Line, point: Point) -> tuple[float, float]:
    """How far an error bar goes below a point's speed-up, and above it."""
    low_s, high_s = point.sample.ends
    up = line.speed_up(point)
    most, least = (up * point.sample_s / sample_s for sample_s in (low_s, high_s))
    return up - least, most - up


def _mark(point: Point) -> str:
    return "!" * point.span.disturbed


def _losses(axes: Axes, lines: Sequence[Line]) -> None:
    """Bars of the share of the time that is lost; what has become cheaper is left of zero."""
    pairs = _bars(lines)
    above, below = np.zeros(len(pairs)), np.zeros(len(pairs))
    for part in PARTS:
        widths = np.array([line.lost(point).get(part, 0.0) for line, point in pairs])
        lefts = np.where(widths >= 0, above, below)
        shown: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.5} | LOOKS[part]
        axes.barh(range(len(pairs)), widths, 0.7, lefts, **shown)
        above, below = above + np.maximum(widths, 0), below + np.minimum(widths, 0)
    axes.axvline(0, color=INK, linewidth=0.8)
    names = [f"{line.name.replace(' scaling', '')}: {p.processes}{_mark(p)}" for line, p in pairs]
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("of the time, lost to")
    in_percent(axes.xaxis)


def _bars(lines: Sequence[Line]) -> list[tuple[Line, Point]]:
    """Each line's points but the first, which loses nothing."""
    return [(line, point) for line in lines for point in line.points[1:]][:MOST_BARS]
