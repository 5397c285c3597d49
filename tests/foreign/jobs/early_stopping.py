"""EarlyStopping ends the fit after three epochs of nine."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from plain import Validated, loader, trainer
from torch import Tensor

EPOCHS = 3
SAMPLES = [44, 44, 44]


class Worse(Validated):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", float(self.trainer.current_epoch))


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    own = EarlyStopping("val_loss", patience=2)
    callbacks = [own, *trainer_arguments.pop("callbacks", [])]
    fitting = trainer(**{"callbacks": callbacks, "max_epochs": 9} | trainer_arguments)
    return fitting, Worse(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
