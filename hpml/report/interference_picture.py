"""The picture of what each epoch had to share with others, beside its time."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from hpml.report.collect import Run
from hpml.report.labels import in_lines, with_short_numbers
from hpml.report.picture_style import INK, in_percent, legend_above, looks, time_unit
from hpml.system.interference import Interference

COLUMNS = 2
PRESSURE = "CPU pressure"
# What is drawn of an epoch's interference besides the seconds it lost.
READ: dict[str, Callable[[Interference], float | None]] = {
    PRESSURE: lambda seen: (
        None if seen.pressure_s is None or not seen.wall_s else seen.pressure_s / seen.wall_s
    ),
    "load": lambda seen: seen.load,
    "power of the GPUs (W)": lambda seen: seen.power_w,
}


def over_epochs(runs: Sequence[Run]) -> Figure | None:
    """Panels of time, lost time, pressure, load and power over the epochs, a line for each run.

    What no record tells has no panel; without any of them there is no picture.
    """
    panels = {title: values for title, values in _panels(runs).items() if np.isfinite(values).any()}
    if len(panels) < 2:  # of time alone
        return None
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(9, 0.8 + 1.9 * rows), layout="constrained")
    places = [*figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).flat]
    names = in_lines(with_short_numbers([run.name for run in runs]))
    for axes, (title, values) in zip(places, panels.items(), strict=False):
        for run, of_run, name, look in zip(runs, values, names, looks(), strict=False):
            epochs = run.columns.epoch
            label = name if axes is places[0] else None
            axes.plot(epochs, of_run[: len(epochs)], label=label, **look)
        axes.set_ylabel(title, fontsize=9)
        axes.set_ylim(0, 1.08 * max(0.0, float(np.nanmax(values))) or 1.0)
        axes.grid(alpha=0.25, color=INK, linewidth=0.5)
        if title == PRESSURE:
            in_percent(axes.yaxis)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes in places[len(panels) - COLUMNS : len(panels)]:
        axes.tick_params(labelbottom=True)
    places[0].xaxis.get_major_locator().set_params(integer=True)
    last = max(epoch for run in runs for epoch in run.columns.epoch)
    places[0].set_xlim(-0.5, last + 0.5)
    figure.supxlabel("epoch", fontsize=10)
    legend_above(figure, names)
    return figure


def _panels(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """Each panel's title and its figures, of runs by epochs; not a number where not known."""
    times_s = _square([run.columns.time["epoch_s"] for run in runs])
    size, unit = time_unit(float(np.nanmax(times_s, initial=0.0)))

    def seen(read: Callable[[Interference], float | None]) -> np.ndarray:
        return _square([[None if s is None else read(s) for s in run.seen] for run in runs])

    lost_s = seen(lambda seen: seen.figures["lost_s"])
    panels = {f"time of an epoch ({unit})": times_s / size}
    panels[f"lost to others at most ({unit})"] = lost_s / size
    return panels | {title: seen(read) for title, read in READ.items()}


def _square(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Rows of figures, filled up with what is not a number."""
    longest = max(map(len, rows), default=0)
    filled = [[*row, *[None] * (longest - len(row))] for row in rows]
    return np.array(filled, dtype=float)
