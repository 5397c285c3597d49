"""Says after the first steps how long a run will take, where that is long."""

import logging
import time
from typing import Any

import lightning as L
from lightning.pytorch.utilities.types import STEP_OUTPUT

log = logging.getLogger("hpml")


class Forecast(L.Callback):
    """One line of forecast, and what would shorten it, for a run of more than `longer_than_s`.

    It is made once, when `after_s` and at least `steps` steps have passed since the second batch:
    the first ones pay for what happens only once. Validation is counted at a third of the cost of
    training a batch (the forward pass without the backward). A GPU's queue, which lets the first
    steps look free, is full by then.

    Logs nothing to the loggers.
    """

    def __init__(self, longer_than_s: float = 300, after_s: float = 5, steps: int = 5) -> None:
        self.longer_than_s = longer_than_s
        self.after_s = after_s
        self.steps = steps
        self._started: tuple[float, int] | None = None
        self._made = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins again with each fit."""
        self._started, self._made = None, False

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measures from the end of the second batch on."""
        if self._made or batch_idx == 0:
            return
        now = time.perf_counter()
        if self._started is None:
            self._started = now, batch_idx
            return
        elapsed, steps = now - self._started[0], batch_idx - self._started[1]
        if steps < self.steps or elapsed < self.after_s:
            return
        self._made = True
        rest_s = _remaining_batches(trainer, batch_idx) * elapsed / steps
        if rest_s > self.longer_than_s and trainer.is_global_zero:
            log.info(f"forecast: {in_words(rest_s)}; to shorten: {_advice(trainer)}")


def in_words(seconds: float) -> str:
    """A duration as one says it: `about 2 h 35 min`."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"about {minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"about {hours} h {minutes % 60} min"
    return f"about {hours // 24} days"


def _remaining_batches(trainer: L.Trainer, batch_idx: int) -> float:
    """Batches still to train, those to validate counted at a third; infinite without an end."""
    per_epoch = trainer.num_training_batches
    epochs = float("inf") if trainer.max_epochs in (None, -1) else trainer.max_epochs
    training = per_epoch * (epochs - trainer.current_epoch) - batch_idx
    if trainer.max_steps != -1:
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        training = min(training, left)
    validation = sum(trainer.num_val_batches) * training / per_epoch if per_epoch else 0
    return training + validation / 3


def _advice(trainer: L.Trainer) -> str:
    if trainer.strategy.root_device.type == "cpu":
        return (
            "device=gpu, model=small, data.train_samples=5000, or compile=true channels_last=true"
        )
    return "compile=true, channels_last=true, trainer.precision=bf16-mixed, or fewer epochs"
