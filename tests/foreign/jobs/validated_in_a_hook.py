"""A callback that calls `trainer.validate` at the end of an epoch, and puts its state back."""

from typing import Any

import lightning as L
from plain import Validated, fit, job, loader

SAMPLES = [44, 44]


class Loading(Validated):
    def train_dataloader(self) -> Any:  # `validate` takes the loader away that `fit` was given
        return loader(shuffle=True)


class Validates(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        state = trainer.state.fn, trainer.state.stage, trainer.state.status
        trainer.validate(pl_module, loader(20), verbose=False)
        trainer.state.fn, trainer.state.stage, trainer.state.status = state


make = job(Loading, data=None, own=lambda: [Validates()])

if __name__ == "__main__":
    fit(*make())
