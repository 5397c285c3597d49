"""Keeps a run's record up to date on the disk."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L

from hpml import environment
from hpml.callbacks.epoch_timer import EpochTimer
from hpml.model import describe
from hpml.records import FILE_NAME, RunRecord, fresh_directory, now
from hpml.timing.epoch_times import NS_PER_S


class RunRecorder(L.Callback):
    """Takes each epoch from an EpochTimer into a RunRecord, and writes it to `directory`.

    It stands behind the timer in the Trainer's callbacks. Only the first rank writes. Logs nothing.

    Args:
        directory: of `record.json`.
        timer: whose epochs, and whose verdict.
        record: of a run that someone else begins and ends; without it, each fit is a run of its
            own, and one after the first gets a directory of its own, `directory` with -2, -3 …
    """

    def __init__(self, directory: Path, timer: EpochTimer, record: RunRecord | None = None) -> None:
        self.directory = directory
        self.timer = timer
        self.record = record
        self._is_ours = record is None
        self._asked_for = directory
        self._called_ns: int | None = None

    def fit_called(self) -> None:
        """Starts the clock of `startup_s`; without it, it starts at the callbacks' `setup`."""
        self._called_ns = time.perf_counter_ns()

    def fit_returned(self) -> None:
        """Ends the clock of `finish_s`; without it, it ends at the callbacks' `teardown`."""
        record = self.record
        if record is None or record.startup_s is None or self._called_ns is None:
            return
        fit_s = (time.perf_counter_ns() - self._called_ns) / NS_PER_S
        epochs_s = sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs)
        record.finish_s = fit_s - record.startup_s - epochs_s

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begins a record where there is none."""
        if stage != "fit" or not self._is_ours:
            return
        assert self.timer.profiler is not None, "the RunRecorder stands behind its EpochTimer"
        self._called_ns = self.timer.profiler.attached_ns
        self.record = RunRecord(
            started_at=now(),
            fingerprint="",
            command=shlex.join([Path(sys.executable).name, *sys.argv]),
            overrides=[],
            config={},
            environment=environment.describe(trainer.strategy.root_device.type),
            model=describe(pl_module, type(pl_module).__name__),
        )
        if trainer.is_global_zero:
            self.directory = fresh_directory(self._asked_for)
            self.record.write(self.directory)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the epoch that has just ended, if one has."""
        self._take(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the last epoch, and the verdict."""
        self._take(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Ends a record that it began."""
        if self._is_ours and stage == "fit":
            self._end(trainer, pl_module, "completed")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Takes the epoch that was cut short."""
        self._take(trainer)
        if self._is_ours and self.record is not None:
            self.record.error = {"type": type(exception).__name__, "message": str(exception)}
            interrupted = isinstance(exception, KeyboardInterrupt)
            self._end(trainer, pl_module, "interrupted" if interrupted else "failed")

    def _take(self, trainer: L.Trainer) -> None:
        record, timer = self.record, self.timer
        if record is None or timer.profiler is None or timer.startup_s is None:
            return
        called_ns = self._called_ns or timer.profiler.attached_ns
        before_s = (timer.profiler.attached_ns - called_ns) / NS_PER_S
        record.startup_s = before_s + timer.startup_s
        record.epochs = list(timer.epochs)
        record.verdict = timer.verdict
        if trainer.is_global_zero:
            record.write(self.directory)

    def _end(self, trainer: L.Trainer, pl_module: L.LightningModule, status: Any) -> None:
        record = self.record
        if record is None:
            return
        record.status = status
        record.wall_s = (time.perf_counter_ns() - (self._called_ns or 0)) / NS_PER_S
        self.fit_returned()
        if trainer.is_global_zero:
            record.write(self.directory)
            pl_module.print(f"record: {self.directory / FILE_NAME}")
