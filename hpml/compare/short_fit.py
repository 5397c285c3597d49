"""Short fits of a program's Trainer, in the program's own process; all that this needs of torch."""

import math
import time
import zlib
from typing import Any

import lightning as L

from hpml.callbacks.batch_size import BatchSizes
from hpml.callbacks.phase_timer import PhaseTimer, in_its_fit
from hpml.system.environment import describe, peak_memory_mib
from hpml.timing.epoch_times import NS_PER_S, by_phase
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace
from hpml.trials.rounds import watched
from hpml.trials.sameness import trace
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.tuning.job import epoch_s

# Steps before those that are timed, besides those whose batches workers have ready: the other
# side's turn has filled the caches.
WARM_UP = 3
FIRST_STEPS = 6
AS_IT_IS = Intervention()


class StepPhases(PhaseTimer):
    """What each phase takes of the steps that are measured, and how many samples these have."""

    def __init__(self, warm_up: int, measured: int) -> None:
        super().__init__(to_loggers=False)
        self._begin, self._end = warm_up, warm_up + measured
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
            self._before = by_phase(self.clock.times())
        elif ended == self._end:
            after, steps = by_phase(self.clock.times()), self._end - self._begin
            self.phases = {
                name: (ns - self._before[name]) / steps / NS_PER_S for name, ns in after.items()
            }


class ShortFits:
    """Fits that begin from one state: the same weights, the same random numbers, loaders anew.

    Raises UserError for a Trainer that cannot be tried so.
    """

    def __init__(self, trainer: Any, module: Any, data: Any) -> None:
        self._subject = Subject(trainer, module, data)
        self._loading = self._subject.loading()
        self._warm_up = WARM_UP + self._loading.ahead

    def first(self) -> dict[str, Any]:
        """Warms up and compiles; `fit_s` is what the fit takes until its first step has ended."""
        begun_ns = time.perf_counter_ns()
        pace, timer = self._fit(FIRST_STEPS, 0)
        traced = trace(self._subject, AS_IT_IS)
        return {
            "fit_s": (timer.first_step_ended_ns - begun_ns) / NS_PER_S,
            "step_s": pace.step_s,
            "losses": traced.losses,
            "batches": traced.batches,
            "weights": zlib.crc32(traced.weights.numpy().tobytes()),
            "epoch_steps": self._subject.epoch_steps,
            "environment": describe(self._subject.device.type),
        }

    def fit(self, steps: int, seed: int) -> dict[str, Any]:
        """Its figures by metric, and what others took from it."""
        whole = math.lcm(accumulated(self._subject.trainer), max(1, self._loading.workers))
        steps = -(-max(steps, 2 * self._loading.ahead) // whole) * whole
        timers: list[StepPhases] = []

        def measure() -> Pace:
            pace, timer = self._fit(steps, seed)
            timers.append(timer)
            return pace

        with self._subject.stops:
            pace, seen = watched(self._subject.witness, Pace.waiting_share.fget)(measure)  # type: ignore[attr-defined]
        (timer,) = timers
        figures = {"step": pace.step_s, **timer.phases}
        if (epoch_steps := self._subject.epoch_steps) is not None:
            figures["epoch"] = epoch_s(epoch_steps, self._loading, pace)
        if timer.samples:
            figures["samples"] = pace.step_s / timer.samples
        if seen is not None and seen.power_w is not None:
            figures["joules"] = seen.power_w * pace.step_s
        return {"figures": figures, "interference": seen and seen.as_dict()}

    def last(self) -> dict[str, Any]:
        memory = peak_memory_mib(self._subject.device)
        return {"memory": memory, "notes": self._subject.notes}

    def _fit(self, steps: int, seed: int) -> tuple[Pace, StepPhases]:
        timer = StepPhases(self._warm_up, steps)

        def attach(trainer: Any, module: Any) -> None:
            trainer.callbacks.insert(0, timer)

        return self._subject.fit(AS_IT_IS, self._warm_up, steps, seed, adapt=attach), timer
