"""A search for a batch size at the start of some epochs, as Lightning's documentation has it."""

from collections.abc import Collection
from typing import Any

import lightning as L
from batch_size_found import Sized
from lightning.pytorch.callbacks import BatchSizeFinder
from plain import fit, job

SAMPLES = [44, 44, 44, 44]


class FineTuneBatchSizeFinder(BatchSizeFinder):
    def __init__(self, milestones: Collection[int], **settings: Any) -> None:
        super().__init__(**settings)
        self.milestones = milestones

    def on_fit_start(self, *_: Any) -> None:
        return

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch in self.milestones or trainer.current_epoch == 0:
            self.scale_batch_size(trainer, pl_module)
            # else Lightning 2.6 trains no batch of this epoch, nor of those that follow
            trainer.fit_loop.restarting = trainer.fit_loop.epoch_loop.restarting = False


make = job(
    Sized, None, lambda: [FineTuneBatchSizeFinder((2,), max_trials=2)], max_epochs=len(SAMPLES)
)

if __name__ == "__main__":
    fit(*make())
