"""The table that grows by a row an epoch while a run trains, at most 100 columns wide."""

from hpml.records import EpochRecord

# heading, metric, format; metrics of other projects' modules have no column here
_METRICS = (
    ("train loss", "train/loss", "10.4f"),
    ("train acc", "train/accuracy", "9.2%"),
    ("val loss", "val/loss", "10.4f"),
    ("val acc", "val/accuracy", "9.2%"),
    ("lr", "lr", "9.2g"),
)
HEADER = "  ".join(
    ["epoch", "  steps", "   time s", " samples/s"]
    + [f"{heading:>{int(spec.partition('.')[0])}}" for heading, _, spec in _METRICS]
)


def row(epoch: EpochRecord) -> str:
    """One epoch as a line under HEADER; epochs are counted from 0, as Lightning counts them."""
    cells = [
        f"{epoch.epoch:5d}",
        f"{epoch.steps:7d}",
        _number(epoch.time["epoch_s"], "9.2f"),
        _number(epoch.samples_per_s, "10,.0f"),
    ]
    cells += [_number(epoch.metrics.get(name), spec) for _, name, spec in _METRICS]
    return "  ".join(cells)


def _number(value: float | None, spec: str) -> str:
    width = int(spec.partition(".")[0].rstrip(","))
    if value is None:
        return f"{'–':>{width}}"
    cell = f"{value:{spec}}"
    return cell if len(cell) <= width else f"{value:{width}.3g}"
