"""Estimates after the first steps how long a run will take, where that is long."""

import logging
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer

from hpml.callbacks.observer import Observer
from hpml.formatting import duration_in_words
from hpml.system.lightning_packages import twins

log = logging.getLogger("hpml")


class RuntimeEstimator(Observer):
    """Prints one line for a run of more than `longer_than_s`: how long, and what would shorten it.

    It does so once, when `after_s` and at least `steps` steps have passed since the second batch:
    the first ones pay for what happens only once, and a GPU's queue, which lets them look free, is
    full by then. Where no validation was seen by then, it is counted at a third of the cost of
    training a batch: the forward pass without the backward.

    Logs nothing to the loggers.
    """

    def __init__(self, longer_than_s: float = 300, after_s: float = 5, steps: int = 5) -> None:
        self.longer_than_s = longer_than_s
        self.after_s = after_s
        self.steps = steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._batches = 0
        self._started_at: float | None = None
        self._saw_validation = self._made = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # from now on the time of a step includes its share of validation
        self._saw_validation = not trainer.sanity_checking

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        self._batches += 1
        if self._made or self._batches == 1:
            return
        now = time.perf_counter()
        if self._started_at is None:
            self._started_at = now
            return
        elapsed, steps = now - self._started_at, self._batches - 2
        if steps < self.steps or elapsed < self.after_s:
            return
        self._made = True
        *_, batch_idx = arguments
        batches = _remaining_batches(trainer, batch_idx)
        if not self._saw_validation and trainer.num_training_batches:
            batches *= 1 + sum(trainer.num_val_batches) / trainer.num_training_batches / 3
        remaining_s = batches * elapsed / steps
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, twins(Timer)):  # trainer.max_time
                remaining_s = min(remaining_s, callback.time_remaining() or 0)
        if self.longer_than_s < remaining_s < float("inf") and trainer.is_global_zero:
            log.info(f"forecast: {duration_in_words(remaining_s)}; to shorten: {_advice(trainer)}")


def _remaining_batches(trainer: L.Trainer, batch_idx: int) -> float:
    """Training batches that are still to come; infinite where no end is known."""
    epochs = float("inf") if trainer.max_epochs in (None, -1) else trainer.max_epochs
    remaining = trainer.num_training_batches * (epochs - trainer.current_epoch) - (batch_idx + 1)
    if trainer.max_steps != -1:
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        remaining = min(remaining, left)
    return remaining


def _advice(trainer: L.Trainer) -> str:
    fewer = "fewer epochs, or fewer samples (data.train_samples)"
    return f"a GPU, {fewer}" if trainer.strategy.root_device.type == "cpu" else fewer
