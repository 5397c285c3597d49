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
from hpml.report.drawing import COLOURS, INK, time_unit
from hpml.report.pictures import Picture

MOST_CELLS = 60  # epochs side by side
HATCHES = ("", "///", "xxx", "...", "++", "oo", "--", "||")


def draw_ranks(run: Run) -> Picture | None:
    """How late each rank is in each epoch, and how often it is the one that others wait for."""
    epochs = [epoch for epoch in run.record.epochs if "late_s" in (epoch.ranks or {})]
    rows = [(epoch.ranks or {})["late_s"] for epoch in epochs]
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    late_s = np.clip(np.array(rows, dtype=float).T, 0.0, None)
    ranks = len(late_s)
    figure = Figure(figsize=(9, min(9.0, 1.8 + 0.3 * ranks)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    size, unit = time_unit(float(late_s.max()))
    shown = _narrowed(late_s) / size
    image = left.imshow(shown, aspect="auto", cmap="Blues", vmin=0.0, extent=_extent(epochs, ranks))
    figure.colorbar(image, ax=left, label=f"late by ({unit})")
    left.set_xlabel("epoch")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel("rank")
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    _how_often(right, epochs)
    caption = "How late each rank is, against half of the others, and how often which one was late"
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
    axes.set_xlabel(f"of {counted(len(epochs), 'epoch')}, late in")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if named:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9)


def _narrowed(late_s: np.ndarray) -> np.ndarray:
    """Of many epochs, means of those side by side."""
    parts = min(MOST_CELLS, late_s.shape[1])
    return np.stack([part.mean(axis=1) for part in np.array_split(late_s, parts, axis=1)], axis=1)


def _extent(epochs: Sequence[EpochRecord], ranks: int) -> tuple[float, float, float, float]:
    return epochs[0].epoch - 0.5, epochs[-1].epoch + 0.5, ranks - 0.5, -0.5
