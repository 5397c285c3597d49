"""Averages a training's weights; changes what is validated and kept, and so is no observer."""

from typing import Any

import lightning as L
from lightning.pytorch import callbacks
from torch import Tensor


class EMAWeightAveraging(callbacks.EMAWeightAveraging):
    """Lightning's own, with the average on the device that trains, and a decay that grows.

    Lightning makes it before the module is moved there: each update would wait for copies to the
    host. After n updates the decay is at most (1 + n) / (10 + n), as TensorFlow's is with
    `num_updates`: else a short run would keep its first weights. For its arguments see Lightning's.
    """

    in_trials = False

    def __init__(self, decay: float = 0.999, **settings: Any) -> None:
        super().__init__(decay=decay, **settings)

        def averaged(average: Tensor, now: Tensor, updates: Tensor) -> Tensor:
            kept = ((1 + updates) / (10 + updates)).clamp(max=decay)
            return kept * average + (1 - kept) * now

        self._kwargs["avg_fn"] = averaged

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        average: Any = self._average_model
        average.to(pl_module.device)
