"""What each epoch of a fit lost to other programs, to limits and to the machine itself."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import lightning as L
import torch

from hpml.callbacks.phase_timer import of_all_ranks
from hpml.system.between_readings import Reading, between
from hpml.system.gpus import GpuWitness
from hpml.system.interference import CAUSES, FIGURES, Interference, summed
from hpml.system.kernel_readings import Witness
from hpml.system.suspensions import Suspensions
from hpml.system.threads import crowded_in_words, workers_affinity

# Workers that end with the epoch take what they waited with them: seen so often before it.
LOOK_EVERY_S = 1.0
LOGGED = tuple(f"machine/{name}" for name in FIGURES)
OF_GPU = ("power_w", "temperature_c", "clock_mhz", "utilization", "energy_j")


class EpochInterference:
    """Reads a witness at the borders of epochs; nothing happens within a step."""

    def __init__(self) -> None:
        self.epochs: dict[int, Interference] = {}
        self.workers: list[frozenset[int]] = []  # the cores of each loading process, once seen
        self._here: dict[int, Interference] = {}  # of one that it resumed, what this process saw
        # What other processes saw of the open epoch; None where they did not look.
        self._earlier: list[Interference] | None = []
        self._witness: Witness | None = None
        self._stops: Suspensions | None = None
        self._last: Reading  # at the last epoch's border
        self._latest: Reading  # of all

    def __getstate__(self) -> dict[str, Any]:
        """A copy has what was seen, and looks no further."""
        return vars(self) | {"_witness": None, "_stops": None}

    def begin(self, trainer: L.Trainer) -> None:
        """The first epoch begins."""
        self._stops = Suspensions().__enter__()
        self._witness = witness_of(trainer, self._stops)
        self._last = self._latest = self._witness.read()
        self._looked_s = time.perf_counter()

    def end(self) -> None:
        """The fit is over, or has failed."""
        if self._stops is not None:
            self._stops.__exit__()
        self._stops = self._witness = None

    def look(self) -> None:
        """Some steps have passed."""
        if self._witness is not None and time.perf_counter() - self._looked_s > LOOK_EVERY_S:
            self._witness.look_at_workers()
            self.workers = workers_affinity() or self.workers
            self._looked_s = time.perf_counter()

    def epoch_ended(self, epoch: int, waiting_s: float | None) -> Interference | None:
        """What this epoch lost; `waiting_s` is the time in which it waited for data here.

        None where nobody looked at all of it.
        """
        if self._witness is None:
            return None
        now = self._witness.read()
        here = between(self._last, now, waiting_s)
        earlier, self._earlier = self._earlier, []
        self._last = self._latest = now
        if earlier != []:
            self._here[epoch] = here
        seen = None if earlier is None else summed([*earlier, here])
        if seen is not None:
            self.epochs[epoch] = seen
        return seen

    def open_epoch(self, waiting_s: float) -> dict[str, Any] | None:
        """What the open one has lost so far, in plain types, for `carry_over` in another process.

        GPUs are this process's own.
        """
        if self._witness is None or self._earlier is None:
            return None
        now = self._witness.read(ends=False)
        here = replace(between(self._last, now, waiting_s), gpus=[])
        seen = summed([*self._earlier, here])
        return None if seen is None else asdict(seen)

    def carry_over(self, earlier: dict[str, Any] | None) -> None:
        """The open epoch was begun by another process, which saw this of it, or did not look."""
        self._earlier = None if earlier is None else [Interference.from_dict(earlier)]

    def of_all_ranks(self, trainer: L.Trainer, epoch: int) -> dict[str, Any]:
        """The record's `interference` of an epoch, with what the rank lost that lost most.

        Where GPUs were disturbed it has those of the first such rank besides. All ranks call this.
        """
        seen = self.epochs[epoch]
        own = [seen.lost_s.get(cause, 0.0) for cause in CAUSES]
        known = [math.nan if s is None else s for s in (seen.others_cpu_s, seen.chance_s)]
        of_all = [*own, *known, float(len(seen.slowed_gpus))]
        *rows, slowed_gpus = zip(*of_all_ranks(trainer, of_all).tolist(), strict=True)
        slowed = [rank for rank, count in enumerate(slowed_gpus) if count]
        every = [_told_by_a_rank(seen, of_rank) for of_rank in zip(*rows, strict=True)]
        worst = max(range(len(every)), key=lambda rank: sum(every[rank].surely_lost_s.values()))
        self.epochs[epoch] = seen = every[worst]
        if slowed:
            theirs = trainer.strategy.broadcast(seen.gpus, src=slowed[0])
            if trainer.global_rank != slowed[0]:
                others = [gpu | {"rank": slowed[0]} for gpu in theirs or ()]
                self.epochs[epoch] = seen = replace(seen, gpus=[*(seen.gpus or ()), *others])
        return seen.as_dict() | {"rank": worst}

    def so_far(self) -> Interference | None:
        """Of all that it has trained, with the open epoch as it was a second ago or later.

        To read takes milliseconds; verdicts may come each hundred steps, and these take no longer.
        """
        parts = list((self.epochs | self._here).values())
        if self._witness is not None:
            is_old = time.perf_counter() - self._latest.at_s > LOOK_EVERY_S
            if is_old or self._latest is self._last:
                self._latest = self._witness.read(ends=False)
            parts.append(between(self._last, self._latest, waiting_s=0.0))
        return summed(parts)

    def sentences(self) -> list[str]:
        """The epochs that were disturbed, the worst one in words; and workers on too few cores."""
        crowded = crowded_in_words(self.workers)
        pinned = [f"! {crowded}"] if crowded else []
        disturbed = {number: seen for number, seen in self.epochs.items() if seen.disturbed}
        if not disturbed:
            return pinned
        worst = max(disturbed, key=lambda number: disturbed[number].share)
        words = f"! epoch {worst}: {disturbed[worst].in_words()}"
        if others := len(disturbed) - 1:
            words += f"; {others} more of {len(self.epochs)} epochs were disturbed"
        return [words, *pinned]


def _told_by_a_rank(seen: Interference, of_rank: Sequence[float]) -> Interference:
    """This rank's interference, with what another one lost: by CAUSES, of its cores, by chance."""
    *lost, others_cpu_s, chance_s = of_rank
    lost_s = {cause: s for cause, s in zip(CAUSES, lost, strict=True) if s > 0}
    known = [None if math.isnan(s) else s for s in (others_cpu_s, chance_s)]
    return replace(seen, lost_s=lost_s, others_cpu_s=known[0], chance_s=known[1])


def figures(seen: Interference) -> dict[str, float]:
    """What is logged of an epoch: `machine/lost_s`, `machine/load` …, those that are known."""
    values = {f"machine/{name}": value for name, value in seen.figures.items()}
    for number, gpu in enumerate(seen.gpus or ()):
        values |= {f"machine/gpu{number}_{name}": gpu[name] for name in OF_GPU}
    return {name: float(value) for name, value in values.items() if value is not None}


def is_logged(name: str) -> bool:
    """Whether a metric's name is one of `figures`."""
    _, of_gpu, rest = name.partition("machine/gpu")
    number, _, figure = rest.partition("_")
    return name in LOGGED or bool(of_gpu and number.isdigit() and figure in OF_GPU)


def witness_of(trainer: L.Trainer, stops: Suspensions, kin_on_gpus: bool = False) -> Witness:
    """The other ranks on this machine are the job's own, below this process or beside it.

    `kin_on_gpus` as for Witness.
    """
    ranks = [process.pid for process in getattr(trainer.strategy.launcher, "procs", ())]
    beside = trainer.world_size > 1 and not ranks
    device = trainer.strategy.root_device
    gpus = GpuWitness.of([]) if device.type == "cpu" else None
    if device.type == "cuda":
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        gpus = GpuWitness.of([f"GPU-{uuid}"]) if uuid else None
    return Witness(beside, ranks, stops, gpus, kin_on_gpus)
