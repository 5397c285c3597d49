"""Keeps a run's record up to date on the disk."""

import dataclasses
import logging
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from hpml.callbacks.epoch_timer import EpochTimer
from hpml.callbacks.observer import Observer
from hpml.callbacks.phase_timer import in_its_fit
from hpml.callbacks.progress_bar import print_around
from hpml.models.counts import describe
from hpml.records.run_record import FILE_NAME, EpochRecord, RunRecord, Status, now
from hpml.system import environment
from hpml.system.files import fresh_directory
from hpml.timing.epoch_times import NS_PER_S

log = logging.getLogger("hpml")

MOST_SHARE = 0.02  # of the time, for writing the record


class RunRecorder(Observer):
    """Takes each epoch from an EpochTimer into a RunRecord, and writes it to `directory`.

    It stands behind the timer in the Trainer's callbacks. Only the first rank writes. Logs nothing.
    The file is written at the start, at the end, and after an epoch unless that came too soon:
    writing takes at most a fiftieth of the time, however many the epochs and however short.

    Args:
        directory: of `record.json`.
        timer: whose epochs, and whose verdict.
        record: of a run that someone else begins and ends; without it, each fit is a run of its
            own, and one after the first gets a directory of its own, `directory` with -2, -3 …
        say: prints where the record is; by default, around the progress bar to the terminal.
    """

    def __init__(
        self,
        directory: Path,
        timer: EpochTimer,
        record: RunRecord | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = self._asked_for = directory
        self.timer = timer
        self.record = record
        self._say = say
        self._is_ours = record is None
        self._called_ns: int | None = None
        self._writes = True
        self._next_write_ns = 0
        self._earlier: list[EpochRecord] = []  # epochs that another process has trained
        self._carried_s = 0.0  # of these, and of the epoch that it has begun
        self._earlier_s = 0.0  # of its whole fit, up to the resume checkpoint

    def fit_called(self) -> None:
        """Starts the clock of `startup_s`; without it, it starts at the callbacks' `setup`."""
        self._called_ns = time.perf_counter_ns()

    @property
    def _fit_s(self) -> float:
        return (time.perf_counter_ns() - (self._called_ns or 0)) / NS_PER_S

    def fit_returned(self) -> None:
        """Ends the clock of `finish_s`; without it, it ends at the callbacks' `teardown`."""
        record = self.record
        if record is None or record.startup_s is None or self._called_ns is None:
            return
        record.finish_s = self._fit_s - record.startup_s - (_epochs_s(record) - self._carried_s)

    def is_aside(self, trainer: L.Trainer) -> bool:
        """As the timer has it."""
        return self.timer.is_aside(trainer)

    @in_its_fit
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forgets the run before. Raises ValueError where its timer is not in front."""
        if stage == "fit":
            if self.timer.profiler is None:  # or this is a copy, with a timer of its own
                self.timer = self._timer_in_front(trainer)
            if self._is_ours:
                self.record = None
                self._writes, self._next_write_ns = True, 0

    @in_its_fit
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins a record where there is none; lazy parameters have their shapes by now."""
        if self.record is not None and not self._is_ours:
            self.record.compile_s = getattr(pl_module, "compile_s", None)
            return
        self._called_ns = self.timer.begun_ns
        command = shlex.join([Path(sys.executable).name, *sys.argv])
        machine = environment.describe(trainer.strategy.root_device.type, _program())
        model = describe(pl_module, type(pl_module).__name__)
        self.record = RunRecord(now(), "", command, [], {}, machine, model=model)
        if trainer.is_global_zero:
            try:
                self.directory = fresh_directory(self._asked_for)
            except OSError as error:
                self._give_up(self._asked_for, error)
            self._write(trainer)

    @in_its_fit
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take()
        if time.perf_counter_ns() >= self._next_write_ns:
            self._write(trainer)

    @in_its_fit
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take()
        self._write(trainer)

    @in_its_fit
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Ends the record with its fit, which a validation in a hook may have given its stage."""
        if self.timer.profiler is None:
            self._end(trainer, "completed")

    @in_its_fit
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._take()
        if self.record is None or not self._is_ours:
            self._write(trainer)
            return
        kind = type(exception).__name__
        self.record.error = {"type": kind, "message": str(exception)}
        # by its name: pytorch_lightning has one of its own
        interrupted = kind in ("KeyboardInterrupt", "SIGTERMException")
        self._end(trainer, "interrupted" if interrupted else "failed")

    def so_far(self) -> dict[str, Any]:
        """The epochs that have ended, in plain types, for `carry_over` in another process."""
        self._take()
        record = self.record
        if record is None:
            return {}
        times = self.timer.clock.open_epoch() if self.timer.profiler else None
        open_s = (times.in_s()["epoch_s"] or 0.0) if times is not None else 0.0
        return {
            **{"started_at": record.started_at, "saved_at": time.time(), "resumed": record.resumed},
            "epochs": [dataclasses.asdict(epoch) for epoch in record.epochs],
            "windows": record.windows,
            "carried_s": _epochs_s(record) + open_s,
            "earlier_s": self._earlier_s + self._fit_s,
        }

    def carry_over(self, trainer: L.Trainer, earlier: dict[str, Any]) -> None:
        """Continues the record of a run that another process has begun."""
        assert self.record is not None
        self._earlier = [EpochRecord(**epoch) for epoch in earlier["epochs"]]
        self._carried_s = earlier["carried_s"]
        self.timer.windows.resume(earlier.get("windows"))
        self.record.started_at = earlier["started_at"]
        self.record.resumed = [*earlier["resumed"], *self.record.resumed]
        self.record.resumed[-1]["earlier_s"] = self._earlier_s = earlier["earlier_s"]
        self.record.epochs = list(self._earlier)
        self._write(trainer)

    def _timer_in_front(self, trainer: L.Trainer) -> EpochTimer:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in reversed(callbacks[: callbacks.index(self)]):
            if isinstance(callback, EpochTimer) and callback.profiler is not None:
                return callback
        raise ValueError("the RunRecorder stands behind its EpochTimer in the callbacks")

    def _take(self) -> None:
        record, timer = self.record, self.timer
        if record is None or timer.startup_s is None:
            return
        before_ns = timer.begun_ns - (self._called_ns or timer.begun_ns)
        record.startup_s = before_ns / NS_PER_S + timer.startup_s
        record.epochs = [*self._earlier, *timer.epochs]
        record.verdict, record.windows = timer.verdict, timer.windows.columns
        if timer.places:
            record.environment["ranks"] = timer.places
        if timer.workers_affinity:
            record.environment["workers_affinity"] = timer.workers_affinity

    def _end(self, trainer: L.Trainer, status: Status) -> None:
        if self.record is None or not self._is_ours:
            return
        self.record.status, self.record.wall_s = status, self._fit_s
        self.fit_returned()
        self._write(trainer)
        self.record = None
        if trainer.is_global_zero and self._writes:
            line = f"record: {self.directory / FILE_NAME}"
            self._say(line) if self._say else print_around(trainer, line)

    def _write(self, trainer: L.Trainer) -> None:
        """Writes the record; where that fails, somebody else's training goes on, and ours ends."""
        if self.record is None or not (self._writes and trainer.is_global_zero):
            return
        begun_ns = time.perf_counter_ns()
        try:
            self.record.write(self.directory)
        except OSError as error:
            if not self._is_ours:
                raise
            self._give_up(self.directory, error)
        now_ns = time.perf_counter_ns()
        self._next_write_ns = now_ns + round((now_ns - begun_ns) / MOST_SHARE)

    def _give_up(self, directory: Path, error: OSError) -> None:
        self._writes = False
        log.warning(f"{directory / FILE_NAME}: not written ({error.strerror})")


def _epochs_s(record: RunRecord) -> float:
    return sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs)


def _program() -> Path:
    """The folder of the program that trains; the working directory in a notebook or a shell."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file).resolve().parent if file else Path.cwd()
