"""Several ranks compared: which one the others wait for, in what it is late, what talking costs.

Only intervals on one rank's own clock are subtracted from one another; what ranks exchange are
lengths of time. So clocks that differ do no harm.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from hpml.records.phases import OTHER, PHASES, TIMES
from hpml.timing.epoch_times import NS_PER_S
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.timing.profiler_actions import BROADCAST, BUFFERS, LOGGING, LOOP, RANKS, VALIDATION_END

# What a rank does by itself. The last one counts only where none of the others tells: metrics that
# ranks compare at an epoch's end are waited for in it.
_PARTS = {"train": ("forward", "backward", "optimizer"), OTHER.name: ("callbacks", "logging")}
OWN = tuple(part for phase in PHASES for part in _PARTS.get(phase.name, (phase.name,)))
CERTAIN = len(OWN) - 1
_COMPUTING = _PARTS["train"]
MOST_SAMPLES = 32  # steps of an epoch whose exchange of gradients is looked at
_OWN_OF = {
    "train/forward": "forward",
    "train/optimizer": "optimizer",
    "train/rest": "optimizer",
    LOOP: "logging",
    LOGGING: "logging",
}
# Where ranks meet; a checkpoint is written by one of them, and waited for inside.
_MEETINGS = {RANKS, BROADCAST, BUFFERS, VALIDATION_END, "train/backward", "other/save_checkpoint"}


def own_times(ns: Mapping[str, int], backward_s: float = math.nan) -> list[float]:
    """Seconds of OWN, from an epoch's by phase and part, without what ranks wait for each other.

    `backward_s` is what the backward passes took without that; not a number where nobody knows.
    """
    own = dict.fromkeys(OWN, 0.0) | {"backward": backward_s}
    for key, part_ns in ns.items():
        if key not in _MEETINGS:
            phase = key.partition("/")[0]
            own[_OWN_OF.get(key, "callbacks" if phase == OTHER.name else phase)] += (
                part_ns / NS_PER_S
            )
    return list(own.values())


@dataclass(frozen=True)
class RankTimes:
    """One rank's figures of an epoch, in seconds.

    `times` are those of TIMES, `own` those of OWN, `waited_s` what it waited in all its backward
    passes. Of each step that was looked at, `waits` is from the rank's last gradient to the end of
    the exchange, `talks` from its first bucket to there. What is not known is not a number.
    """

    times: Sequence[float]
    own: Sequence[float]
    waited_s: float = math.nan
    waits: Sequence[float] = ()
    talks: Sequence[float] = ()

    def as_row(self) -> list[float]:
        """All of it, in as many numbers for each rank."""
        padded = ([*of, *[math.nan] * (MOST_SAMPLES - len(of))] for of in (self.waits, self.talks))
        return [*self.times, *self.own, self.waited_s, *(value for of in padded for value in of)]

    @classmethod
    def from_row(cls, row: Sequence[float]) -> "RankTimes":
        """What `as_row` gave."""
        times, rest = row[: len(TIMES)], row[len(TIMES) :]
        own, (waited_s, *steps) = rest[: len(OWN)], rest[len(OWN) :]
        return cls(times, own, waited_s, steps[:MOST_SAMPLES], steps[MOST_SAMPLES:])


@dataclass(frozen=True)
class Late:
    """A rank that the others wait for: what it takes longer than half of them, and in what most."""

    rank: int
    phase: str  # of OWN
    late_s: float


@dataclass
class Comparison:
    """The ranks in one epoch, or in several.

    `late_s` is what each takes longer than half of the others; `excess_s` the same for each of OWN.
    """

    epoch_s: float
    late_s: list[float]
    excess_s: list[list[float]]
    late: Late | None
    common_s: float = 0.0  # the most that every rank spends on one thing, beside computing
    exposed_s: float | None = None  # of talking, that hides behind no computing
    talk_s: float | None = None  # an exchange of gradients, half of them
    last: list[int] | None = None  # in how many of the sampled steps each rank came last

    @property
    def sampled_steps(self) -> int:
        return sum(self.last or ())


def compare(ranks: Sequence[RankTimes], exchanges: int) -> Comparison:
    """Compares an epoch's ranks, in which gradients were exchanged so many times."""
    epoch_s = fmean(rank.times[0] for rank in ranks)
    columns = [over_others(column) for column in zip(*(rank.own for rank in ranks), strict=True)]
    excess_s = [list(row) for row in zip(*columns, strict=True)]
    late_s = _late_s(ranks, CERTAIN)
    late = _latest(late_s, excess_s, CERTAIN, epoch_s)
    if late is None:
        late = _latest(_late_s(ranks, len(OWN)), excess_s, len(OWN), epoch_s)
    compared = Comparison(epoch_s, late_s, excess_s, late, _common_s(ranks))
    steps = [_sampled(rank) for rank in ranks]
    known = [step for step in range(MOST_SAMPLES) if all(step in sampled for sampled in steps)]
    if known:
        waits = [[sampled[step][0] for sampled in steps] for step in known]
        compared.exposed_s = _exposed_s(waits, [rank.waited_s for rank in ranks], exchanges)
        compared.talk_s = median(min(sampled[step][1] for sampled in steps) for step in known)
        came_last = [wait.index(min(wait)) for wait in waits]
        compared.last = [came_last.count(rank) for rank in range(len(ranks))]
    return compared


def _exposed_s(waits: Sequence[Sequence[float]], waited_s: list[float], exchanges: int) -> float:
    """What the exchange held up in an epoch, from the waits of each rank in some of its steps.

    In each step the rank that comes last waits for the exchange alone. Steps differ, so what they
    tell is the part of the ranks' whole waiting: a ratio estimator, which needs few of them.
    """
    least, mean_s = fmean(map(min, waits)), fmean(map(fmean, waits))
    if any(map(math.isnan, waited_s)) or not mean_s:
        return exchanges * least
    return fmean(waited_s) * least / mean_s


def _common_s(ranks: Sequence[RankTimes]) -> float:
    """Of what is not computing, as that is what a training is for."""
    columns = dict(zip(OWN, zip(*(rank.own for rank in ranks), strict=True), strict=True))
    return max(min(column) for part, column in columns.items() if part not in _COMPUTING)


def _sampled(rank: RankTimes) -> dict[int, tuple[float, float]]:
    """By its place, what is known of each sampled step: wait and talk."""
    pairs = zip(rank.waits, rank.talks, strict=True)
    return {place: pair for place, pair in enumerate(pairs) if not any(map(math.isnan, pair))}


def _late_s(ranks: Sequence[RankTimes], count: int) -> list[float]:
    """Of the first so many of OWN; what one of the ranks does not know is left out."""
    columns = [*zip(*(rank.own for rank in ranks), strict=True)][:count]
    known = [column for column in columns if not any(map(math.isnan, column))]
    return over_others([math.fsum(row) for row in zip(*known, strict=True)])


def _latest(
    late_s: Sequence[float], excess_s: Sequence[Sequence[float]], count: int, epoch_s: float
) -> Late | None:
    rank = max(range(len(late_s)), key=late_s.__getitem__)
    if late_s[rank] <= LEAST_MARGIN * epoch_s:
        return None
    of_phase = excess_s[rank][:count]
    return Late(rank, OWN[of_phase.index(max(of_phase))], late_s[rank])


def over_others(values: Sequence[float]) -> list[float]:
    """What each is above the median of the others; 0 where one of them is not known."""
    if len(values) < 2 or any(map(math.isnan, values)):
        return [0.0] * len(values)
    ordered, others = sorted(values), len(values) - 1
    middle = {(others - 1) // 2, others // 2}

    def median_without(value: float) -> float:
        left_out = bisect_left(ordered, value)
        return fmean(ordered[place + (place >= left_out)] for place in middle)

    return [value - median_without(value) for value in values]


@dataclass
class Comparisons:
    """What the epochs of a fit have in common."""

    epochs: list[Comparison] = field(default_factory=list)

    @property
    def late(self) -> tuple[Late, int] | None:
        """The rank that is late in most epochs, with means over all, and in how many it is.

        None where it takes less of the time than may be chance.
        """
        if not self.epochs:
            return None
        ranks = range(len(self.epochs[0].late_s))
        sums = [math.fsum(epoch.late_s[rank] for epoch in self.epochs) for rank in ranks]
        counts = [
            sum(e.late is not None and e.late.rank == rank for e in self.epochs) for rank in ranks
        ]
        rank = max(ranks, key=lambda rank: (counts[rank], sums[rank]))
        if 2 * counts[rank] <= len(self.epochs):
            return None
        by_phase = dict.fromkeys(OWN, 0.0)
        late_s = 0.0
        for epoch in self.epochs:
            if epoch.late is not None and epoch.late.rank == rank:
                late_s += epoch.late.late_s
                for phase, excess_s in zip(OWN, epoch.excess_s[rank], strict=True):
                    by_phase[phase] += excess_s
        names = {
            epoch.late.phase for epoch in self.epochs if epoch.late and epoch.late.rank == rank
        }
        phase = max(names, key=by_phase.__getitem__)
        return Late(rank, phase, late_s / len(self.epochs)), counts[rank]

    @property
    def imbalance(self) -> tuple[Late, int] | None:
        """`late`, where that costs more than anything that all ranks have in common."""
        late = self.late
        if late is None:
            return None
        common_s = fmean(max(e.common_s, e.exposed_s or 0.0) for e in self.epochs)
        return late if late[0].late_s > common_s else None

    @property
    def epoch_s(self) -> float:
        """Mean time of an epoch."""
        return fmean(epoch.epoch_s for epoch in self.epochs)

    @property
    def exposed_share(self) -> float:
        """Of the time of the epochs that tell, what the exchange of gradients held up."""
        pairs = [(e.exposed_s, e.epoch_s) for e in self.epochs if e.exposed_s is not None]
        whole_s = math.fsum(epoch_s for _, epoch_s in pairs)
        return math.fsum(exposed_s for exposed_s, _ in pairs) / whole_s if whole_s else 0.0


def place_in_words(rank: int, places: Sequence[Mapping[str, Any]]) -> str:
    """`rank 3 on node1 (cuda:3)`; without a device where all have the same one."""
    if rank >= len(places):
        return f"rank {rank}"
    place = places[rank]
    devices = {each["device"] for each in places}
    device = f" ({place['device']})" if len(devices) > 1 else ""
    return f"rank {rank} on {place['host']}{device}"
