"""The table that grows by a row an epoch while a run trains, at most 100 columns wide."""

import math

from hpml.records import TIMES, EpochRecord

# heading, metric, format; metrics of other projects' modules have no column here
_METRICS = (
    ("loss", "train/loss", "7.4f"),
    ("acc", "train/accuracy", "7.2%"),
    ("val loss", "val/loss", "8.4f"),
    ("val acc", "val/accuracy", "7.2%"),
)
_TIMES = ("= data", "transf", "train", "valid", "other")
HEADER = " ".join(
    ["epoch", f"{'time s':>8}"]
    + [f"{heading:>7}" for heading in _TIMES]
    + [f"{'samples/s':>9}"]
    + [f"{heading:>{int(spec.partition('.')[0])}}" for heading, _, spec in _METRICS]
)


def row(epoch: EpochRecord) -> str:
    """One epoch as a line under HEADER; epochs are counted from 0, as Lightning counts them.

    The times of the phases, as they are shown, add up to that of the epoch. An epoch that was cut
    short ends in an asterisk.
    """
    cells = [f"{epoch.epoch:5d}"]
    whole, *parts = shown_times(epoch)
    cells.append(_number(whole, "8.2f"))
    cells += [_number(part, "7.2f") for part in parts]
    cells.append(_number(epoch.samples_per_s, "9,.0f"))
    cells += [_number(epoch.metrics.get(name), spec) for _, name, spec in _METRICS]
    return " ".join(cells) + ("*" if epoch.partial else "")


def shown_times(epoch: EpochRecord) -> list[float | None]:
    """The record's times in the order of TIMES, rounded to hundredths that still add up.

    Each is rounded down, and the hundredths that are missing go to where most was cut off.
    """
    values = [epoch.time[name] for name in TIMES]
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
