"""When each rank has its gradients, and when they are exchanged: from DDP's own clock.

DDP stamps a backward pass by itself: when its first bucket begins to be sent, when the last
gradient is there, when the exchange is over; by events on a GPU. It does so in the first ten steps
and in each hundredth one; here it is told to do so in windows of some steps. A communication hook
could tell the same, but cannot be taken away again: it would cost something in each step, and take
the place of one of the user's.
"""

import math
import time
from statistics import fmean
from typing import Any

import lightning as L
from torch.nn.parallel import DistributedDataParallel

from hpml.timing.epoch_times import NS_PER_S
from hpml.timing.fit_clock import FitClock
from hpml.timing.rank_comparison import MOST_SAMPLES

FIRST = 2  # the batch behind which an epoch's first window begins
SAMPLES = 8  # steps of a window
EVERY = 250  # batches, from one window to the next
RATE = 100  # of DDP's stamps outside of windows, which is torch's default
BACKWARD = "train/backward"


class GradientWindows:
    """Samples of the open epoch; all ranks look at the same steps."""

    def __init__(self, model: DistributedDataParallel) -> None:
        self._model: Any = model
        self._on_host = next(model.parameters()).device.type == "cpu"
        self._begin_epoch()

    @classmethod
    def of(cls, trainer: L.Trainer) -> "GradientWindows | None":
        """Of a Trainer whose ranks exchange gradients by DDP, with stamps that torch tells."""
        model = trainer.strategy.model
        telling = ("_get_ddp_logging_data", "_set_ddp_runtime_logging_sample_rate")
        if not isinstance(model, DistributedDataParallel) or trainer.world_size == 1:
            return None
        if not trainer.lightning_module.automatic_optimization:  # with any number of passes a step
            return None
        return cls(model) if all(hasattr(model, name) for name in telling) else None

    def _begin_epoch(self) -> None:
        self.waits: list[float] = []
        self.talks: list[float] = []
        self._backwards: list[float] = []
        self.cost_s = 0.0
        self._open = False

    def batch_ended(self, number: int, clock: FitClock) -> None:
        """The epoch's batch of this number, from 1, has been trained."""
        begins = number % EVERY == FIRST and len(self.waits) + SAMPLES <= MOST_SAMPLES
        if not (begins or self._open):
            return
        begun_ns = time.perf_counter_ns()
        if begins:
            self._set_open(True)
        self._read(clock.times().get(BACKWARD, 0))
        if len(self.waits) >= self._until:
            self._set_open(False)
        self.cost_s += (time.perf_counter_ns() - begun_ns) / NS_PER_S

    def take(self) -> tuple[list[float], list[float], float, float]:
        """Waits, talks, a backward pass without the wait, and what looking has cost: seconds."""
        own_s = fmean(self._backwards) if self._backwards else math.nan
        taken = self.waits, self.talks, own_s, self.cost_s
        if self._open:
            self._set_open(False)
        self._begin_epoch()
        return taken

    @property
    def buckets(self) -> list[int]:
        """Bytes of each bucket, in the order of their exchange."""
        stamps = self._model._get_ddp_logging_data()
        sizes = stamps.get("rebuilt_bucket_sizes") or stamps.get("bucket_sizes") or ""
        return [int(size) for size in str(sizes).replace(",", " ").split()]

    def _set_open(self, is_open: bool) -> None:
        self._model._set_ddp_runtime_logging_sample_rate(1 if is_open else RATE)
        self._open, self._until = is_open, len(self.waits) + SAMPLES
        self._iteration: int | None = None
        self._backward_ns: int | None = None  # of the step whose stamps come next
        self._before_ns = 0

    def _read(self, backward_ns: int) -> None:
        """DDP tells of a step when the next one begins, and of none without an exchange."""
        stamps = self._model._get_ddp_logging_data()
        iteration, had = stamps.get("iteration", 0), self._iteration
        self._iteration = iteration
        passed_ns, self._before_ns = backward_ns - self._before_ns, backward_ns
        if had is None or iteration == had:
            return
        earlier_ns, self._backward_ns = self._backward_ns, passed_ns
        if earlier_ns is not None:  # else it is one of before the window
            self._keep(stamps, earlier_ns)

    def _keep(self, stamps: dict[str, Any], backward_ns: int) -> None:
        end_ns = stamps.get("backward_comm_time_end", 0)
        wait_ns = max(0, end_ns - stamps.get("backward_compute_time_end", 0))
        own_ns = backward_ns - wait_ns if self._on_host else stamps["backward_compute_time"]
        known = end_ns > 0 and own_ns >= 0
        self.waits.append(wait_ns / NS_PER_S if known else math.nan)
        talk_ns = end_ns - stamps.get("backward_comm_time_start", 0)
        self.talks.append(talk_ns / NS_PER_S if known else math.nan)
        if known:
            self._backwards.append(own_ns / NS_PER_S)
