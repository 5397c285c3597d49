"""The ranks of a fit: where each runs, which one the others wait for, what talking costs."""

import math
import socket
import time
from statistics import fmean
from typing import Any

import lightning as L
import torch

from hpml.callbacks.gradient_windows import BACKWARD, GradientWindows
from hpml.callbacks.phase_timer import of_all_ranks
from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord
from hpml.timing.epoch_times import NS_PER_S, EpochTimes
from hpml.timing.fit_clock import FitClock
from hpml.timing.rank_comparison import (
    Comparison,
    Comparisons,
    RankTimes,
    compare,
    own_times,
    place_in_words,
)


class Ranks:
    """Compares the ranks epoch by epoch, in one gather of each.

    `places` has host, device and the wall clock's offset of each rank, for the record's
    `environment`; it is empty for one rank alone.
    """

    def __init__(self) -> None:
        self.places: list[dict[str, Any]] = []
        self.compared = Comparisons()
        self._windows: GradientWindows | None = None
        self._told: tuple[int, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy has what was compared, and looks no further."""
        return vars(self) | {"_windows": None}

    def begin(self, trainer: L.Trainer) -> None:
        """The first epoch begins. All ranks call this."""
        if trainer.world_size > 1:
            self.places = places_of(trainer)
            self._windows = GradientWindows.of(trainer)

    def batch_ended(self, number: int, clock: FitClock) -> None:
        if self._windows is not None:
            self._windows.batch_ended(number, clock)

    def epoch_ended(self, trainer: L.Trainer, epoch: EpochRecord, times: EpochTimes) -> None:
        """Puts into the epoch's record what its times are on all ranks. All of them call this."""
        windows = self._windows
        exchanges = math.ceil(epoch.steps / max(1, trainer.accumulate_grad_batches))
        waits, talks, backward_s, cost_s = windows.take() if windows else ([], [], math.nan, 0.0)
        here_ns = times.here_ns
        known = "train" not in times.unmeasured and times.split_known
        own_s = backward_s * epoch.steps if known else math.nan
        waited_s = here_ns.get(BACKWARD, 0) / NS_PER_S - own_s
        if trainer.strategy.root_device.type != "cpu":  # whose host waits elsewhere
            waited_s = math.nan
        whole = [math.nan if epoch.time[name] is None else epoch.time[name] for name in TIMES]
        own = own_times(here_ns, own_s)
        row = RankTimes(whole, own, waited_s, waits, talks).as_row()  # type: ignore[arg-type]
        every = [RankTimes.from_row(each) for each in of_all_ranks(trainer, row).tolist()]
        compared = compare(every, exchanges)
        self.compared.epochs.append(compared)
        epoch.ranks = _spread(every) | self._named(compared)
        if windows is not None and compared.exposed_s is not None:
            epoch.ranks["communication"] = _communication(compared, windows.buckets, cost_s)

    def news(self) -> list[str]:
        """What there is to print of the latest epoch: which rank is late, where that is new."""
        late = self.compared.epochs[-1].late
        if late is None or self._told == (late.rank, late.phase):
            return []
        self._told = late.rank, late.phase
        return [f"  {self.in_words(late.rank)} is late by {late.late_s:.2f} s, in {late.phase}"]

    def in_words(self, rank: int) -> str:
        return place_in_words(rank, self.places)

    def _named(self, compared: Comparison) -> dict[str, Any]:
        named: dict[str, Any] = {"late_s": [round(s, 6) for s in compared.late_s]}
        if (late := compared.late) is not None:
            place = self.places[late.rank] if self.places else {}
            where = {key: place.get(key) for key in ("host", "device")}
            named["late"] = {"rank": late.rank, **where, "phase": late.phase, "late_s": late.late_s}
        return named


def places_of(trainer: L.Trainer) -> list[dict[str, Any]]:
    """Of each rank its host, its device, and its wall clock against the first rank's.

    The offset is read behind a barrier, so it is known to about as long as that takes to end: some
    milliseconds. No figure is made with it.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return []
    own = {"host": socket.gethostname(), "device": str(trainer.strategy.root_device)}
    trainer.strategy.barrier()
    read = {"clock_offset_s": time.time()}
    places: list[Any] = [None] * trainer.world_size
    distributed.all_gather_object(places, own | read)
    first_s = places[0]["clock_offset_s"]
    for place in places:
        place["clock_offset_s"] = round(place["clock_offset_s"] - first_s, 6)
    return places


def _spread(every: list[RankTimes]) -> dict[str, Any]:
    """Of each of TIMES mean, worst and skew over the ranks, and whose the worst is."""
    columns = zip(*(rank.times for rank in every), strict=True)
    return {
        name: {"mean": fmean(s), "worst": max(s), "skew": max(s) - min(s), "rank": s.index(max(s))}
        for name, s in zip(TIMES, columns, strict=True)
        if not any(map(math.isnan, s))
    }


def _communication(compared: Comparison, buckets: list[int], cost_s: float) -> dict[str, Any]:
    speed = sum(buckets) / compared.talk_s if compared.talk_s else None
    return {
        "exposed_s": compared.exposed_s,
        "exchange_s": compared.talk_s,
        "bytes": sum(buckets),
        "buckets": buckets,
        "bytes_per_s": speed,
        "sampled_steps": compared.sampled_steps,
        "came_last": compared.last,
        "cost_s": cost_s,
    }
