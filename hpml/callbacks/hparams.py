"""One entry a run in TensorBoard's HParams, by which a sweep is compared there."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from hpml.callbacks.trainer_facts import logging_step


class HParams(L.Callback):
    """Writes a run's settings with its last metrics and times, once, at the end of its training.

    It stands behind the timers in the Trainer's callbacks. Logs all of `callback_metrics` again, at
    the last step, since TensorBoard's HParams looks them up in the curves.

    Args:
        settings: by dotted key.
    """

    def __init__(self, settings: dict[str, bool | int | float | str]) -> None:
        self.settings = settings

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """All figures are final by now."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and metrics:
                last = max(0, logging_step(trainer) - 1)
                logger.log_hyperparams(self.settings, metrics, step=last)
