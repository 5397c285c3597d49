"""The picture of a search for the number of workers: both times over the counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hpml.report.page import save
from hpml.report.picture_style import STYLE, line, looks, spread_ticks, time_unit
from hpml.report.pictures import Picture
from hpml.statistics import Estimate
from hpml.worker_counts.search_result import SPAN

# By what was measured: a panel's title, and what of `workers.json` is its answer.
CURVES = {
    "loading_s": ("the loader alone", "best_loading"),
    "epoch_s": ("training, end to end", "recommended"),
}


def draw_workers(found: Mapping[str, Any], folder: Path, name: str = "workers") -> dict[str, str]:
    """Draws what `workers.json` holds; returns what a page needs, as `save` does."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        return save(picture(found, name), folder)


def picture(found: Mapping[str, Any], name: str = "workers") -> Picture:
    """Both times over the number of workers, in the style of the moment.

    Each curve has a scale of its own: loading is often a small part of the training.
    """
    span = found.get("span", SPAN)
    settings = {int(count): times for count, times in found["settings"].items()}
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = zip(figure.subplots(1, 2), CURVES.items(), looks(), strict=False)
    for axes, (curve, (title, answer)), look in panels:
        size, unit = time_unit(max(times[curve]["mean"] for times in settings.values()))
        estimates = {n: Estimate(**times[curve]) for n, times in settings.items()}
        points = [(float(n), each.in_units(size)) for n, each in estimates.items()]
        line(axes, points, title, look)
        spread_ticks(axes, [float(count) for count in settings])
        axes.set_ylim(bottom=0)
        if found[answer] in settings:
            axes.axvline(found[answer], color="#8c8c8c", linestyle=":", zorder=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("number of workers")
        axes.set_ylabel(f"time of {span} ({unit})")
    rounds = min(times["epoch_s"]["n"] for times in settings.values())
    bars = f"95 % intervals over {rounds} rounds" if rounds > 1 else "none: one round"
    caption = (
        f"Time of {span} over the number of workers, without validation; error bars are "
        f"{bars}; dotted: the fastest by loading alone, and the recommended end to end"
    )
    return Picture(name, caption, figure)
