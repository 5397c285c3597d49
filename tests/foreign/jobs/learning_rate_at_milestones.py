"""A search for a learning rate at the start of some epochs, as Lightning's documentation has it."""

from collections.abc import Collection
from typing import Any

import lightning as L
from learning_rate_found import Searched
from lightning.pytorch.callbacks import LearningRateFinder
from plain import fit, job

SAMPLES = [44, 44, 44, 44]


class FineTuneLearningRateFinder(LearningRateFinder):
    def __init__(self, milestones: Collection[int], **settings: Any) -> None:
        super().__init__(**settings)
        self.milestones = milestones

    def on_fit_start(self, *_: Any) -> None:
        return

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch in self.milestones or trainer.current_epoch == 0:
            self.lr_find(trainer, pl_module)


make = job(
    Searched,
    own=lambda: [FineTuneLearningRateFinder((1, 2), num_training_steps=10, min_lr=1e-3)],
    max_epochs=len(SAMPLES),
)

if __name__ == "__main__":
    fit(*make())
