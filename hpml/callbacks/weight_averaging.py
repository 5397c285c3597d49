"""Averages a training's weights; changes what is validated and kept, and so is no observer."""

from typing import Any

import lightning as L
from lightning.pytorch import callbacks


class EMAWeightAveraging(callbacks.EMAWeightAveraging):
    """Lightning's own, with the average on the device that trains.

    Lightning makes it before the module is moved there: each update would wait for copies to the
    host. For its arguments see Lightning's.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Moves the average."""
        average: Any = self._average_model
        average.to(pl_module.device)
