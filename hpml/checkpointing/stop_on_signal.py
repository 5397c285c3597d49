"""Ends a run on a signal whose exception was swallowed on its way."""

from typing import Any

import lightning as L

from hpml.callbacks.observer import Observer
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.system.signals import process_signals


class StopOnSignal(Observer):
    """Looks at each batch whether a signal has arrived.

    It stands first in the Trainer's callbacks: when training fails, a point is written before the
    timers end. Logs nothing.

    Args:
        points: that a run may go on from.
    """

    def __init__(self, points: ResumeCheckpoints | None = None) -> None:
        self.points = points

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ends training."""
        process_signals.raise_if_arrived()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Writes a point where a signal to all processes has ended a loader's."""
        if self.points is not None:
            self.points.write_between_batches(trainer, pl_module)

    def on_test_batch_start(self, *arguments: Any) -> None:
        """Ends an evaluation."""
        process_signals.raise_if_arrived()
