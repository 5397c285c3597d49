"""What passes in an epoch, counted batch by batch, and the epoch's record at its end."""

from typing import Any

import lightning as L

from hpml.callbacks import epoch_interference
from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord
from hpml.system.environment import peak_memory_mib
from hpml.timing.epoch_times import NS_PER_S, EpochTimes

# What the timers themselves log is in the record already.
_TIMES = {f"{start}/{name}" for start in ("time", "time/worst_rank") for name in TIMES}
LOGGED = _TIMES | {"throughput/samples_per_s"}


class EpochCounts:
    """Batches and samples of the open epoch, and which metrics are those of a validation."""

    def __init__(self) -> None:
        # Metrics that a validation logs stay in `callback_metrics` through the epochs without one.
        self._before_validation: set[str] = set()
        self._of_validation: set[str] = set()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.batches = 0
        self.samples: int | None = 0  # of this process; None where a batch's are not known
        self._first_samples: int | None = None
        self._validated = False

    def count(self, samples: int | None) -> None:
        if self.batches == 0:
            self._first_samples = samples
        self.batches += 1
        if self.samples is not None:
            self.samples = None if samples is None else self.samples + samples

    def validation_begins(self, metrics: dict[str, Any]) -> None:
        self._before_validation = set(metrics)

    def validation_ended(self, metrics: dict[str, Any]) -> None:
        self._validated = True
        self._of_validation |= set(metrics) - self._before_validation

    def as_dict(self) -> dict[str, Any]:
        """The counts in plain types, for `resume` in another process."""
        counts = {"batches": self.batches, "samples": self.samples}
        validation = {"of_validation": sorted(self._of_validation)}
        return {**counts, "first_samples": self._first_samples, **validation}

    def resume(self, counts: dict[str, Any]) -> None:
        """Continues an epoch that another process has begun, from what `as_dict` gave there."""
        self.batches, self.samples = counts["batches"], counts["samples"]
        self._first_samples = counts["first_samples"]
        self._of_validation = set(counts["of_validation"])

    def record(
        self, trainer: L.Trainer, times: EpochTimes, flops_per_sample: float | None
    ) -> EpochRecord:
        """The epoch's record; counts over all ranks are this one's times their number."""
        in_s = times.in_s()
        epoch_s = in_s["epoch_s"] or 0.0
        first_s = None if times.first_step_ns is None else times.first_step_ns / NS_PER_S
        ranks = trainer.world_size
        samples = None if self.samples is None else self.samples * ranks
        epoch = EpochRecord(
            epoch=times.epoch,
            steps=self.batches,
            samples=samples,
            time=in_s,
            samples_per_s=samples / epoch_s if samples and epoch_s else None,
            metrics={} if times.partial else self._metrics(trainer),
            train_split=times.train_split(),
            other_split=times.other_split(),
            first_batch_s=first_s,
            step_ms=times.later_steps.in_ms(),
            step_counts=times.later_steps.in_counts(),
            peak_memory_mib=peak_memory_mib(trainer.strategy.root_device),
            partial=times.partial or not self._is_whole(trainer),
            resumed=times.resumed,
        )
        steady_s = epoch_s - (first_s or 0.0) - (in_s["validation_s"] or 0.0)
        if samples is not None and self._first_samples is not None and steady_s > 0:
            epoch.steady_samples_per_s = (samples - self._first_samples * ranks) / steady_s
        if flops_per_sample and epoch.steady_samples_per_s:
            epoch.achieved_tflops = flops_per_sample * epoch.steady_samples_per_s / 1e12
        if times.device_ns is not None and not times.resumed:
            epoch.device_time = {f"{k}_s": ns / NS_PER_S for k, ns in times.device_ns.items()}
        return epoch

    def _is_whole(self, trainer: L.Trainer) -> bool:
        """Whether nothing stopped the epoch, and no batch of it was trained by another fit."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        stopped = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        in_full = progress.is_last_batch or not stopped
        return in_full and progress.current.completed <= self.batches

    def _metrics(self, trainer: L.Trainer) -> dict[str, float | None]:
        return {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if not (name in LOGGED or epoch_interference.is_logged(name))
            and (self._validated or name not in self._of_validation)
        }
