"""Short fits of a program's Trainer, in the program's own process; all that this needs of torch."""

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import lightning as L
import psutil

from hpml.callbacks.batch_size import BatchSizes
from hpml.callbacks.epoch_interference import witness_of
from hpml.callbacks.phase_timer import PhaseTimer, in_its_fit
from hpml.records.phases import DATA
from hpml.system.between_readings import Reading, between
from hpml.system.environment import describe, peak_memory_mib
from hpml.system.interference import Interference, add, summed
from hpml.system.interference_in_pieces import joined
from hpml.system.kernel_readings import Witness
from hpml.timing.epoch_times import NS_PER_S, by_phase
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace, Pauses
from hpml.trials.sameness import trace
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.tuning.epoch_trials import epoch_s

# Steps before those that are timed, besides those whose batches workers have ready: the other
# side's turn has filled the caches.
WARM_UP = 3
FIRST_STEPS = 2


class Slices:
    """Waits between the slices of a fit, while the other side has the machine.

    Workers stand still meanwhile: what they would load ahead would take time from the other side,
    and be free for this one.
    """

    def __init__(
        self, wait: Callable[[], None], witness: Witness, core: int, has_workers: bool
    ) -> None:
        self._wait, self._witness, self._core = wait, witness, core
        self._stopped = children_stopped if has_workers else nullcontext
        self._begun: Reading | None = None
        self._readings: list[tuple[Reading, Reading]] = []
        self.waited_ns = 0

    def wait(self) -> None:
        begun_ns = time.perf_counter_ns()
        if self._begun is not None:
            self._readings.append((self._begun, self._witness.read()))
        with self._stopped():
            self._wait()
        move_to(self._core)
        self._begun = self._witness.read()
        self.waited_ns += time.perf_counter_ns() - begun_ns

    def interference(self, waiting_share: float) -> Interference:
        """Of all slices; the share is what they waited for workers."""
        first, last = joined(self._readings)
        seen = between(first, last, waiting_share * (last.at_s - first.at_s))
        of_each = summed(between(*pair) for pair in self._readings)
        return replace(seen, gpus=of_each.gpus if of_each else None)

    @property
    def power_w(self) -> float | None:
        """Of the GPUs, in the mean of the slices; None where it is not told."""
        total = add(between(*pair).power_w for pair in self._readings)
        return None if total is None else total / len(self._readings)


def move_to(core: int) -> None:
    """Moves this thread to the core of that place among those that it may use, and lets it go.

    Does nothing where the system has no such call, as macOS has none.
    """
    if hasattr(os, "sched_setaffinity"):
        usable = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {sorted(usable)[core % len(usable)]})
        os.sched_setaffinity(0, usable)


@contextmanager
def children_stopped() -> Iterator[None]:
    children = psutil.Process().children(recursive=True)
    try:
        for child in children:
            with suppress(psutil.Error):
                child.suspend()
        yield
    finally:
        for child in children:
            with suppress(psutil.Error):
                child.resume()


class StepPhases(PhaseTimer):
    """What each phase takes of the steps that are measured, and how many samples these have."""

    def __init__(self, warm_up: int, measured: int, slices: Slices | None = None) -> None:
        super().__init__(to_loggers=False)
        self._begin, self._end = warm_up, warm_up + measured
        self._slices = slices
        self._sizes = BatchSizes()
        self._before: dict[str, int] = {}
        self._samples: list[int | None] = []
        self.phases: dict[str, float] = {}  # seconds of a step, by name
        self.first_step_ended_ns = 0

    @property
    def samples(self) -> float | None:
        """Of a step; None where they are not known."""
        known = [samples for samples in self._samples if samples is not None]
        return sum(known) / len(known) if known and len(known) == len(self._samples) else None

    @in_its_fit
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.first_step_ended_ns = self.first_step_ended_ns or time.perf_counter_ns()
        samples, ended = self._sizes.samples(trainer, batch), batch_idx + 1
        if self._begin < ended <= self._end:
            self._samples.append(samples)
        if ended == self._begin:
            self._before = self._times()
        elif ended == self._end:
            after, steps = self._times(), self._end - self._begin
            self.phases = {
                name: (ns - self._before[name]) / steps / NS_PER_S for name, ns in after.items()
            }

    def _times(self) -> dict[str, int]:
        """So far, by phase, in nanoseconds; a slice begins where a batch is waited for."""
        times = by_phase(self.clock.times())
        if self._slices is not None:
            times[DATA.name] -= self._slices.waited_ns
        return times


class ShortFits:
    """Fits that begin from one state: the same weights, the same random numbers, loaders anew.

    Raises UserError for a Trainer that cannot be tried so.
    """

    def __init__(self, trainer: Any, module: Any, data: Any) -> None:
        self._subject = Subject(trainer, module, data)
        # the other side holds the same GPU, and what it has used there is seen a while later
        self._subject.witness = witness_of(trainer, self._subject.stops, kin_on_gpus=True)
        self._loading = self._subject.loading()
        self._warm_up = WARM_UP + self._loading.ahead

    def first(self) -> dict[str, Any]:
        """Warms up and compiles; `fit_s` is what the fit takes until its first step has ended."""
        begun_ns = time.perf_counter_ns()
        _, timer = self._fit(FIRST_STEPS, 0)
        traced = trace(self._subject, Intervention())
        return {
            "fit_s": (timer.first_step_ended_ns - begun_ns) / NS_PER_S,
            "unit": math.lcm(accumulated(self._subject.trainer), max(1, self._loading.workers)),
            "ahead": self._loading.ahead,
            "is_continuous": self._loading.workers == 0 and self._subject.device.type == "cpu",
            "losses": traced.losses,
            "batches": traced.batches,
            "weights": zlib.crc32(traced.weights.numpy().tobytes()),
            "epoch_steps": self._subject.epoch_steps,
            "environment": describe(self._subject.device.type),
        }

    def fit(
        self, slices: int, steps: int, seed: int, core: int, wait: Callable[[], None]
    ) -> dict[str, Any]:
        """Its figures by metric, and what others took from it.

        It has so many steps, in so many slices, which are no more. It calls `wait` before each, and
        at the end, and begins each on the core of that place.
        """
        with self._subject.stops:
            paused = Slices(wait, self._subject.witness, core, bool(self._loading.workers))
            ends = {number * steps // slices for number in range(slices + 1)}
            pace, timer = self._fit(steps, seed, paused, Pauses(ends, paused.wait))
        seen = paused.interference(pace.waiting_share)
        figures = {"step": pace.step_s, **timer.phases}
        if (epoch_steps := self._subject.epoch_steps) is not None:
            figures["epoch"] = epoch_s(epoch_steps, self._loading, pace)
        if timer.samples:
            figures["samples"] = pace.step_s / timer.samples
        if (power_w := paused.power_w) is not None:
            figures["joules"] = power_w * pace.step_s
        return {"figures": figures, "interference": seen.as_dict()}

    def last(self) -> dict[str, Any]:
        memory = peak_memory_mib(self._subject.device)
        return {"memory": memory, "notes": self._subject.notes}

    def _fit(
        self,
        steps: int,
        seed: int,
        slices: Slices | None = None,
        pauses: Pauses | None = None,
    ) -> tuple[Pace, StepPhases]:
        timer = StepPhases(self._warm_up, steps, slices)

        def attach(trainer: Any, module: Any) -> None:
            trainer.callbacks.insert(0, timer)

        pace = self._subject.fit(
            Intervention(), self._warm_up, steps, seed, adapt=attach, pauses=pauses
        )
        return pace, timer
