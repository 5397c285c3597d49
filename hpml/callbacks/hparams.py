"""One entry a run in TensorBoard's HParams, by which a sweep is compared there."""

from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from hpml.callbacks.observer import Observer
from hpml.callbacks.run_recorder import RunRecorder
from hpml.callbacks.trainer_facts import logging_step
from hpml.report.collect import Run
from hpml.system.lightning_packages import twins

# TensorBoard shows five columns of metrics unless asked for more.
FIRST = ("val/accuracy", "mean/epoch_s", "mean/steady_epoch_s", "mean/data_s", "val/loss")
OF_ONE_EPOCH = ("time/", "throughput/", "machine/", "window/")  # the report has their means


class HParams(Observer):
    """Writes a run's settings with its figures, once, at the end of its training.

    TensorBoard's HParams looks up a metric's last value in the curves. Of times that is the last
    epoch's, so the means over the epochs, which a report compares, are logged there too:

    | key, in TensorBoard | per | meaning |
    | --- | --- | --- |
    | `mean/epoch_s`, `mean/data_s` … | run | a time's mean over the whole epochs, as in a report |
    | `mean/steady_epoch_s`, `mean/steady_data_s` | run | without the first epoch |
    | `mean/samples_per_s` | run | training samples per second of an epoch |

    It stands behind the timers in the Trainer's callbacks. `settings` are by dotted key; without a
    `recorder` there are no means.
    """

    def __init__(
        self,
        settings: dict[str, bool | int | float | str] | None = None,
        recorder: RunRecorder | None = None,
    ) -> None:
        self.settings = settings or {}
        self.recorder = recorder

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loggers = [each for each in trainer.loggers if isinstance(each, twins(TensorBoardLogger))]
        if not (trainer.is_global_zero and loggers):
            return
        means = self._means()
        logged: dict[str, Any] = trainer.callback_metrics | means
        names = [name for name in dict.fromkeys([*FIRST, *logged]) if name in logged]
        metrics = {name: float(logged[name]) for name in names if not name.startswith(OF_ONE_EPOCH)}
        if not metrics:
            return
        # takes its time to import, and a run without this logger can do without
        from torch.utils.tensorboard.summary import hparams

        for logger in loggers:
            logger.log_metrics(means, step=max(0, logging_step(trainer) - 1))
            for summary in hparams(self.settings, metrics):
                logger.experiment.file_writer.add_summary(summary)

    def _means(self) -> dict[str, float]:
        """By the names under which they are logged: what a report has of the run."""
        if self.recorder is None or self.recorder.record is None:
            return {}
        measures = Run(self.recorder.directory, self.recorder.record).measures
        return {f"mean/{name}": value for name, value in measures.items() if value is not None}
