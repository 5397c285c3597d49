"""Keeps a run's record up to date on the disk, and prints a line an epoch."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT

from hpml.records import TIMES, EpochRecord, RunRecord
from hpml.report.epoch_table import HEADER, row

log = logging.getLogger("hpml")


class RunRecorder(L.Callback):
    """Adds each epoch to a RunRecord, writes it to `directory`, logs and prints its figures.

    An epoch begins at its `on_train_epoch_start` and ends where the next one begins, the last at
    `on_train_end`; so the validation and the checkpoint that end it belong to it. Its figures are
    final then, and are sent to the loggers and put into `callback_metrics`:

    | key | what |
    | --- | --- |
    | `time/epoch_s` | seconds of the epoch |
    | `throughput/samples_per_s` | its training samples over these seconds |

    Only the first rank writes; samples are those of all ranks.
    """

    def __init__(self, record: RunRecord, directory: Path) -> None:
        self.record = record
        self.directory = directory
        self._fit_called_at = time.perf_counter()
        self._trained_until: float | None = None
        self._begun_at = 0.0
        self._open: EpochRecord | None = None
        # Metrics that a validation logs stay in `callback_metrics` through the epochs without one.
        self._known_before: set[str] = set()
        self._of_validation: set[str] = set()
        self._validated = False

    def fit_called(self) -> None:
        """Starts the clock of `startup_s`."""
        self._fit_called_at = time.perf_counter()
        self._open = None

    def fit_returned(self) -> None:
        """Ends the clock of `finish_s`."""
        if self._trained_until is not None:
            self.record.finish_s = time.perf_counter() - self._trained_until

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends the epoch before, if there was one, and begins this one."""
        begins_at = time.perf_counter()
        if self._open is None:
            self.record.startup_s = begins_at - self._fit_called_at
            if trainer.is_global_zero:
                log.info(HEADER)
        else:
            self._end_epoch(trainer, begins_at)
        self._begun_at = begins_at
        self._validated = False
        self._open = EpochRecord(
            epoch=trainer.current_epoch,
            steps=0,
            samples=0,
            time=dict.fromkeys(TIMES),
            samples_per_s=None,
            metrics={},
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts the batch and its samples."""
        assert self._open is not None
        self._open.steps += 1
        size = samples_in(batch)
        if size is None or self._open.samples is None:
            self._open.samples = None
        else:
            self._open.samples += size * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remembers which metrics are there without this validation."""
        self._known_before = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remembers which ones it brought."""
        if not trainer.sanity_checking:
            self._validated = True
            self._of_validation |= set(trainer.callback_metrics) - self._known_before

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends the last epoch."""
        self._trained_until = time.perf_counter()
        if self._open is not None:
            self._end_epoch(trainer, self._trained_until)
            self._open = None

    def _end_epoch(self, trainer: L.Trainer, ended_at: float) -> None:
        epoch = self._open
        assert epoch is not None
        epoch_s = ended_at - self._begun_at
        epoch.time["epoch_s"] = epoch_s
        figures = {"time/epoch_s": epoch_s}
        if epoch.samples is not None:
            epoch.samples_per_s = figures["throughput/samples_per_s"] = epoch.samples / epoch_s
        epoch.metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name not in figures and (self._validated or name not in self._of_validation)
        }
        trainer.callback_metrics.update(
            {name: torch.tensor(value) for name, value in figures.items()}
        )
        for logger in trainer.loggers:
            # one less, as Lightning logs the metrics of an epoch whose last step is over
            logger.log_metrics(figures, step=max(0, trainer.global_step - 1))
        self.record.epochs.append(epoch)
        if trainer.is_global_zero:
            log.info(row(epoch))
            self.record.write(self.directory)


def samples_in(batch: Any) -> int | None:
    """The samples of a batch of any kind: the first dimension of the first tensor in it.

    Looks into tuples, lists and dictionaries. None where no tensor with a dimension is found.
    """
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.ndim else None
    if isinstance(batch, dict):
        batch = batch.values()
    elif not isinstance(batch, list | tuple):
        return None
    for part in batch:
        found = samples_in(part)
        if found is not None:
            return found
    return None
