"""Ends a run on a signal whose exception was swallowed on its way."""

from typing import Any

import lightning as L

from hpml.callbacks.observer import Observer
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.system.signals import process_signals


class StopOnSignal(Observer):
    """Looks at each batch whether a signal has arrived.

    It stands first in the Trainer's callbacks: when training fails, a resume checkpoint is written
    before the timers end. Logs nothing.
    """

    def __init__(self, resume_checkpoints: ResumeCheckpoints | None = None) -> None:
        self.resume_checkpoints = resume_checkpoints

    def on_train_batch_start(self, *arguments: Any) -> None:
        process_signals.raise_if_arrived()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Writes a checkpoint where a signal to all processes has ended a loader's."""
        if self.resume_checkpoints is not None:
            self.resume_checkpoints.write_between_batches(trainer, pl_module)

    def on_test_batch_start(self, *arguments: Any) -> None:
        process_signals.raise_if_arrived()
