"""One epoch's times, and the distribution of its steps in bounded memory."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpml.records.phases import OTHER, PHASES

TRAIN_PARTS = ("forward", "backward", "optimizer", "rest")
RANK_PARTS = ("buffers",)  # of several ranks, before the forward pass
NS_PER_S = 1e9
MOST_COUNTS = 60


class StepTimes:
    """Quantiles of durations to within half a percent, however many there are.

    Counts durations in buckets that are one percent wide: DDSketch (Masson, Rim and Lee, 2019).
    From a nanosecond to a day that is at most 3,200 buckets.
    """

    _ACCURACY = 0.005
    _BASE = (1 + _ACCURACY) / (1 - _ACCURACY)
    _LOG_BASE = math.log(_BASE)

    def __init__(self, count: int = 0, max_ns: int = 0, buckets: Mapping[int, int] = {}) -> None:
        self.count, self.max_ns = count, max_ns
        self._buckets = Counter(buckets)

    def add(self, ns: int) -> None:
        self.count += 1
        self.max_ns = max(self.max_ns, ns)
        self._buckets[math.ceil(math.log(max(ns, 1)) / self._LOG_BASE)] += 1

    def merge(self, other: "StepTimes") -> None:
        """Counts all that another one has counted."""
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)
        self._buckets.update(other._buckets)

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments, in plain types."""
        return {"count": self.count, "max_ns": self.max_ns, "buckets": dict(self._buckets)}

    def quantile_ns(self, q: float) -> float:
        """The duration that a fraction `q` of all stays below. Raises ValueError for none."""
        if not self.count:
            raise ValueError("no durations")
        rank, seen = q * (self.count - 1), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                return min(self.max_ns, 2 * self._BASE**bucket / (self._BASE + 1))
        return self.max_ns

    def in_ms(self) -> dict[str, float] | None:
        """The record's `step_ms`: p50, p95, p99, max; None without durations."""
        if not self.count:
            return None
        quantiles = {f"p{q}": self.quantile_ns(q / 100) / 1e6 for q in (50, 95, 99)}
        return {**quantiles, "max": self.max_ns / 1e6}

    def in_counts(self) -> dict[str, int] | None:
        """The record's `step_counts`: milliseconds, and how many steps took about so long.

        At most MOST_COUNTS of them: of more, buckets side by side are one. None without durations.
        """
        width, counts = 1, self._buckets
        while len(counts) > MOST_COUNTS:
            width, counts = 2 * width, Counter()
            for bucket, count in self._buckets.items():
                counts[bucket // width] += count
        places = ((place, self._BASE ** (width * (place + 0.5) - 1)) for place in sorted(counts))
        return {f"{float(f'{ns / 1e6:.4g}'):g}": counts[place] for place, ns in places} or None


def by_phase(ns: Mapping[str, int]) -> dict[str, int]:
    """Sums the parts of each phase: `train/forward`, `train/backward` … to `train`."""
    phases = {phase.name: 0 for phase in PHASES}
    for key, part_ns in ns.items():
        phases[key.partition("/")[0]] += part_ns
    return phases


@dataclass
class EpochTimes:
    """Where one epoch's time went.

    `ns` has nanoseconds by phase, or by phase and part (`train/forward`,
    `other/ModelCheckpoint.on_train_epoch_end`). A step is from a batch's fetch to the next one's,
    without the validation between them; the epoch's first one is kept apart from `steps`.
    `unmeasured` are the phases of which Lightning sent no sign. `split_known` tells whether the
    parts of `train` are what they are called: a module that optimizes by itself may not tell.
    """

    epoch: int
    ns: dict[str, int] = field(default_factory=dict)
    first_step_ns: int | None = None
    later_steps: StepTimes = field(default_factory=StepTimes)
    unmeasured: frozenset[str] = frozenset()
    split_known: bool = True
    partial: bool = False
    device_ns: dict[str, float] | None = None
    earlier_ns: dict[str, int] | None = None  # of `ns`, the part of another process

    def as_dict(self) -> dict[str, Any]:
        """What `add` needs of it, in plain types."""
        names = ("epoch", "ns", "first_step_ns", "split_known")
        values = {name: getattr(self, name) for name in names}
        return values | {"later_steps": self.later_steps.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EpochTimes":
        """What `as_dict` gave."""
        return cls(**{**values, "later_steps": StepTimes(**values["later_steps"])})

    @property
    def steps(self) -> int:
        return self.later_steps.count + (self.first_step_ns is not None)

    def add_step(self, ns: int) -> None:
        if self.first_step_ns is None:
            self.first_step_ns = ns
        else:
            self.later_steps.add(ns)

    @property
    def resumed(self) -> bool:
        """Whether another process has trained its first part."""
        return self.earlier_ns is not None

    @property
    def here_ns(self) -> dict[str, int]:
        """Of `ns`, the part of this process."""
        earlier = self.earlier_ns or {}
        return {key: ns - earlier.get(key, 0) for key, ns in self.ns.items()}

    def add(self, earlier: "EpochTimes") -> None:
        """Adds the times of the epoch's first part, which another process has trained.

        `device_ns` remains that of this process.
        """
        self.earlier_ns = dict(earlier.ns)
        for key, ns in earlier.ns.items():
            self.ns[key] = self.ns.get(key, 0) + ns
        if earlier.first_step_ns is not None:
            if self.first_step_ns is not None:
                self.later_steps.add(self.first_step_ns)
            self.first_step_ns = earlier.first_step_ns
        self.later_steps.merge(earlier.later_steps)
        self.split_known &= earlier.split_known

    def in_s(self) -> dict[str, float | None]:
        """The record's `time`: the phases, which sum to `epoch_s`; None for what is not known."""
        times: dict[str, float | None] = {"epoch_s": sum(self.ns.values()) / NS_PER_S}
        times |= {f"{phase}_s": ns / NS_PER_S for phase, ns in by_phase(self.ns).items()}
        for phase in self.unmeasured:
            # `other` holds what the missing signs would have told apart
            times[f"{phase}_s"] = times[OTHER.key] = None
        return times

    def train_split(self) -> dict[str, float] | None:
        """The record's `train_split`: seconds of forward, backward, optimizer and the rest."""
        if "train" in self.unmeasured or not self.split_known:
            return None
        of_ranks = [part for part in RANK_PARTS if f"train/{part}" in self.ns]
        parts = (*TRAIN_PARTS, *of_ranks)
        return {f"{part}_s": self.ns.get(f"train/{part}", 0) / NS_PER_S for part in parts}

    def other_split(self) -> dict[str, float] | None:
        """The record's `other_split`: seconds by the callback or hook that took them."""
        if self.unmeasured:
            return None
        parts = {
            key.partition("/")[2]: ns / NS_PER_S
            for key, ns in self.ns.items()
            if key.startswith("other/") and ns
        }
        return dict(sorted(parts.items(), key=lambda part: -part[1]))
