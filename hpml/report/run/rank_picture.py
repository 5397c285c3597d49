"""A picture of several ranks: how late each is in each epoch."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpml.formatting import counted
from hpml.records.run_record import EpochRecord
from hpml.report.collect import Run, clean
from hpml.report.picture_style import COLOURS, INK, time_unit
from hpml.report.pictures import Picture
from hpml.report.run.ranks import is_disturbed

MOST_CELLS = 60  # side by side
HATCHES = ("", "///", "xxx", "...", "++", "oo", "--", "||")


def draw_ranks(run: Run) -> Picture | None:
    """How late each rank is in each epoch, and how often it is the one that others wait for."""
    epochs = [epoch for epoch in run.record.epochs if "late_s" in (epoch.ranks or {})]
    rows = [(epoch.ranks or {})["late_s"] for epoch in epochs]
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    late_s = np.clip(np.array(rows, dtype=float).T, 0.0, None)
    ranks = len(late_s)
    undisturbed = [epoch for epoch in epochs if not is_disturbed(epoch)]
    figure = Figure(figsize=(9, min(9.0, 1.8 + 0.3 * ranks)), layout="constrained")
    named = any((epoch.ranks or {}).get("late") for epoch in undisturbed)
    panels: dict[str, Any] = {"sharey": True, "width_ratios": [2, 1]} if named else {}
    left, *others = np.ravel(figure.subplots(1, 1 + named, **panels))
    size, unit = time_unit(float(late_s.max()))
    shown, extent = _cells(epochs, late_s / size)
    image = left.imshow(shown, aspect="auto", cmap="Blues", vmin=0.0, extent=extent)
    figure.colorbar(image, ax=left, label=f"late by ({unit})")
    left.set_xlabel("epoch")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel("rank")
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    caption = "How late each rank is, against half of the others"
    for right in others:
        _how_often(right, undisturbed)
        caption += ", and how often which one was late"
    if len(undisturbed) < len(epochs):
        left_out = counted(len(epochs) - len(undisturbed), "disturbed epoch")
        caption += f"; {left_out} name{'s' * (len(epochs) - len(undisturbed) == 1)} nobody"
    return Picture("ranks", caption, figure)


def _how_often(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    """In how many epochs each rank was the late one, and in what."""
    named = [late for epoch in epochs if (late := (epoch.ranks or {}).get("late"))]
    ends = Counter[int]()
    for number, phase in enumerate(dict.fromkeys(late["phase"] for late in named)):
        of_rank = Counter(late["rank"] for late in named if late["phase"] == phase)
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "hatch": HATCHES[number % len(HATCHES)],
        }
        places, counts = [*of_rank.keys()], [*of_rank.values()]
        left = [ends[rank] for rank in places]
        axes.barh(
            places, counts, 0.7, left, label=clean(phase), edgecolor=INK, linewidth=0.5, **look
        )
        ends.update(of_rank)
    axes.set_xlim(0, len(epochs))
    axes.set_xlabel(f"epochs in which it was late (of {len(epochs)})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9)


def _cells(
    epochs: Sequence[EpochRecord], late_s: np.ndarray
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """By ranks and numbers of epochs, of many of these means; and where that is on the axes.

    Not a number where there is no such epoch.
    """
    numbers = [epoch.epoch for epoch in epochs]
    first, last = min(numbers) - 0.5, max(numbers) + 0.5
    edges = np.linspace(first, last, 1 + min(MOST_CELLS, round(last - first)))
    counts, _ = np.histogram(numbers, edges)
    sums = [np.histogram(numbers, edges, weights=of_rank)[0] for of_rank in late_s]
    means = np.where(counts, np.array(sums) / np.maximum(counts, 1), np.nan)
    return means, (first, last, len(late_s) - 0.5, -0.5)
