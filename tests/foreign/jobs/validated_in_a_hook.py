"""A callback that calls `trainer.validate` at the end of an epoch, and puts its state back."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


class Loading(Validated):
    def train_dataloader(self) -> Any:  # `validate` takes the loader away that `fit` was given
        return loader(shuffle=True)


class Validates(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        state = trainer.state.fn, trainer.state.stage, trainer.state.status
        trainer.validate(pl_module, loader(20), verbose=False)
        trainer.state.fn, trainer.state.stage, trainer.state.status = state


def make(callbacks: Any = (), **trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    fitting = trainer(callbacks=[Validates(), *callbacks], **trainer_arguments)
    return fitting, Loading(), None


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
