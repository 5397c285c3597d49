"""The table that grows by a row an epoch while a run trains, at most 100 columns wide."""

import math
from collections.abc import Mapping

from hpml.records import TIMES, EpochRecord

# heading, metric, format
_OURS = (
    ("loss", "train/loss", "7.4f"),
    ("acc", "train/accuracy", "7.2%"),
    ("val loss", "val/loss", "8.4f"),
    ("val acc", "val/accuracy", "7.2%"),
)
_PHASES = ("= data", "transf", "train", "valid", "other")
_WIDTH = 100


class EpochTable:
    """A heading, and a row for each epoch, counted from 0 as Lightning counts them.

    The times of the phases, as they are shown, add up to that of the epoch. An epoch that was cut
    short has an asterisk. The metrics of another project's module are those of its first epoch
    that have a place.
    """

    def __init__(self, first: EpochRecord) -> None:
        columns = ["epoch", f"{'time s':>8}", *(f"{name:>7}" for name in _PHASES), "samples/s"]
        self.header = " ".join(columns)
        self._metrics: tuple[tuple[str, str, str], ...] = _OURS
        if not any(name in first.metrics for _, name, _ in _OURS):
            self._metrics = ()
            left = _WIDTH - len(self.header)
            for name in first.metrics:
                width = max(len(name), 8)
                left -= width + 1
                if left >= 0:
                    self._metrics += ((name, name, f"{width}.4g"),)
        for heading, _, spec in self._metrics:
            self.header += f" {heading:>{int(spec.partition('.')[0])}}"

    def row(self, epoch: EpochRecord) -> str:
        """One epoch as a line under the heading."""
        whole, *parts = shown_times(epoch.time)
        cells = [f"{epoch.epoch:4d}{'*' if epoch.partial else ' '}", _number(whole, "8.2f")]
        cells += [_number(part, "7.2f") for part in parts]
        cells.append(_number(epoch.samples_per_s, "9,.0f"))
        cells += [_number(epoch.metrics.get(name), spec) for _, name, spec in self._metrics]
        return " ".join(cells)


def shown_times(times: Mapping[str, float | None]) -> list[float | None]:
    """A record's times in the order of TIMES, rounded to hundredths that still add up.

    Each is rounded down, and the hundredths that are missing go to where most was cut off.
    """
    values = [times[name] for name in TIMES]
    whole, *parts = values
    if whole is None or any(part is None for part in parts):
        return values
    hundredths = [100 * part for part in parts if part is not None]
    rounded = [math.floor(value) for value in hundredths]
    cut = sorted(range(len(parts)), key=lambda index: rounded[index] - hundredths[index])
    for index in cut[: round(100 * whole) - sum(rounded)]:
        rounded[index] += 1
    return [sum(rounded) / 100, *(value / 100 for value in rounded)]


def _number(value: float | None, spec: str) -> str:
    width = int(spec.partition(".")[0].rstrip(","))
    if value is None:
        return f"{'–':>{width}}"
    cell = f"{value:{spec}}"
    return cell if len(cell) <= width else f"{value:{width}.2g}"
