"""The lines that a run prints of its epochs, as rows of a table of at most 100 columns."""

import math
from collections.abc import Mapping, Sequence

from hpml.records.phases import PHASES, TIMES
from hpml.records.run_record import EpochRecord

# heading, metric, format
_OURS = (
    ("loss", "train/loss", "7.4f"),
    ("acc", "train/accuracy", "7.2%"),
    ("val loss", "val/loss", "8.4f"),
    ("val acc", "val/accuracy", "7.2%"),
)
PHASE_HEADINGS = tuple(phase.heading for phase in PHASES)
_WIDTH = 100


class EpochLines:
    """A heading, and a row for each epoch, counted from 0 as Lightning counts them.

    The times of the phases, as they are shown, add up to that of the epoch. A partial epoch, and
    one that another process has begun, have an asterisk; one that was disturbed has a `!`. The
    metrics of another project's module get a column each as they come, as long as there is place.
    """

    def __init__(self) -> None:
        phases = " ".join(f"{heading:>7}" for heading in PHASE_HEADINGS)
        self._heading = f"epoch {'time s':>8} {phases} samples/s"
        self._metrics: dict[str, str] = {}  # format by name
        self._ours: bool | None = None
        self._given = 0  # epochs

    def news(self, epochs: Sequence[EpochRecord]) -> list[str]:
        """The lines of those that have come since this was asked for."""
        since, self._given = epochs[self._given :], len(epochs)
        return [line for epoch in since for line in self.lines(epoch)]

    def lines(self, epoch: EpochRecord) -> list[str]:
        """One epoch's row; before it the heading, if that is the first or has grown."""
        first, had = self._ours is None, len(self._metrics)
        if first:
            self._ours = {"train/loss", "train/accuracy"} <= epoch.metrics.keys()
        theirs = ((name, name, f"{max(len(name), 8)}.4g") for name in epoch.metrics)
        for heading, name, spec in _OURS if self._ours else theirs:
            cell = f" {heading:>{int(spec.partition('.')[0])}}"
            if name not in self._metrics and len(self._heading) + len(cell) <= _WIDTH:
                self._heading += cell
                self._metrics[name] = spec
        whole, *parts = shown_times(epoch.time)
        marks = "!" if (epoch.interference or {}).get("disturbed") else ""
        marks = f"{marks}{'*' if epoch.partial or epoch.resumed else ''}" or " "
        cells = [f"{epoch.epoch}{marks}".rjust(5), f"{whole:>8}"]
        cells += [*(f"{part:>7}" for part in parts), _number(epoch.samples_per_s, "9,.0f")]
        cells += [_number(epoch.metrics.get(name), spec) for name, spec in self._metrics.items()]
        row = " ".join(cells)
        return [self._heading, row] if first or len(self._metrics) > had else [row]


def shown_times(times: Mapping[str, float | None]) -> list[str]:
    """A record's times in the order of TIMES, rounded to hundredths that still add up.

    Each is rounded down, and what is missing goes to where most was cut off. Epochs of hours have
    fewer decimals, so that they keep to seven characters.
    """
    values = [times[name] for name in TIMES]
    longest = max(value or 0.0 for value in values)
    decimals = 2 - sum(longest >= 10**digits - 1 for digits in (4, 5))
    measured = [value for value in values if value is not None]
    if len(measured) == len(TIMES):
        unit, (whole, *parts) = 10**decimals, measured
        scaled = [unit * part for part in parts]
        rounded = [math.floor(value) for value in scaled]
        cut = sorted(range(len(parts)), key=lambda index: rounded[index] - scaled[index])
        for index in cut[: round(unit * whole) - sum(rounded)]:
            rounded[index] += 1
        values = [sum(rounded) / unit, *(value / unit for value in rounded)]
    return ["–" if value is None else f"{value:.{decimals}f}" for value in values]


def _number(value: float | None, spec: str) -> str:
    width = int(spec.partition(".")[0].rstrip(","))
    if value is None:
        return f"{'–':>{width}}"
    cell = f"{value:{spec}}"
    return cell if len(cell) <= width else f"{value:{width}.2g}"
