"""A search for a batch size at the start of some epochs, as Lightning's documentation has it."""

from collections.abc import Collection
from typing import Any

import lightning as L
from batch_size_found import Sized
from lightning.pytorch.callbacks import BatchSizeFinder
from plain import trainer

EPOCHS = 4
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


def make(callbacks: Any = (), **trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    search = FineTuneBatchSizeFinder((2,), max_trials=2)
    settings = {"max_epochs": EPOCHS} | trainer_arguments
    return trainer(callbacks=[search, *callbacks], **settings), Sized(), None


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
