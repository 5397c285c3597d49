"""One entry a run in TensorBoard's HParams, by which a sweep is compared there."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from hpml.callbacks.observer import Observer
from hpml.system.lightning_twins import twins

# TensorBoard shows five columns of metrics unless asked for more.
FIRST = ("val/accuracy", "time/epoch_s", "time/data_s", "time/train_s", "val/loss")


class HParams(Observer):
    """Writes a run's settings with the names of its metrics, once, at the end of its training.

    TensorBoard's HParams looks up the metrics' last values in the curves. It stands behind the
    timers in the Trainer's callbacks. `settings` are by dotted key. Logs nothing else.
    """

    def __init__(self, settings: dict[str, bool | int | float | str] | None = None) -> None:
        self.settings = settings or {}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        logged = trainer.callback_metrics
        metrics = {name: float(logged[name]) for name in [*FIRST, *logged] if name in logged}
        for logger in trainer.loggers:
            if isinstance(logger, twins(TensorBoardLogger)) and metrics:
                # takes its time to import, and a run without this logger can do without
                from torch.utils.tensorboard.summary import hparams

                writer = logger.experiment.file_writer
                for summary in hparams(self.settings, metrics):
                    writer.add_summary(summary)
