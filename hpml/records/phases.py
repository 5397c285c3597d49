"""The phases of an epoch: each stands here once, with all that is written and drawn of it.

What Lightning does in a phase stands in `timing/profiler_actions.py`.
"""

from dataclasses import dataclass
from typing import Any

# Causes of slowness. Each is that of one phase, but for the exchange between ranks, which goes on
# while others compute.
INPUT = "input"
TRANSFER = "transfer"
COMPUTE = "compute"
OVERHEAD = "overhead"
COMMUNICATION = "communication"


@dataclass(frozen=True)
class Phase:
    """A part of an epoch; no moment belongs to two of them."""

    name: str  # in the clocks' keys (`data/start`), and with `_s` in records and metrics
    heading: str  # of its column, in seven characters at most
    title: str  # in sentences and in pictures
    colour: str  # of its bars, from the palette of `report/picture_style.py`
    hatch: str  # of its bars, where there is no colour
    cause: str = ""  # of slowness, if it speaks for one
    device_kind: str = ""  # the kind of a device's time that speaks for the same cause

    @property
    def key(self) -> str:
        """Of its seconds in a record."""
        return f"{self.name}_s"

    @property
    def look(self) -> dict[str, Any]:
        """Of its bars, in matplotlib's words."""
        return {"label": self.title, "color": self.colour, "hatch": self.hatch}


DATA = Phase("data", "= data", "waiting for data", "#e69f00", "///", INPUT, "wait_data")
OTHER = Phase("other", "other", "other", "#8c8c8c", "\\\\\\", OVERHEAD, "idle")
TRAIN = Phase("train", "train", "training", "#56b4e9", "", COMPUTE, "busy")
PHASES = (
    DATA,
    Phase("transfer", "transf", "transfer", "#cc79a7", "xxx", TRANSFER, "copy"),
    TRAIN,
    Phase("validation", "valid", "validation", "#009e73", "..."),
    OTHER,  # what belongs to none of the others
)
TIMES = ("epoch_s", *(phase.key for phase in PHASES))
