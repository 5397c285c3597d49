"""Trainer and module of `pytorch_lightning`, whose classes are not those of `lightning`."""

from typing import Any

import pytorch_lightning as pl
import torch
from plain import OFF, loader
from torch import Tensor, nn
from torch.nn.functional import mse_loss

SAMPLES = [44, 44]
fit = pl.Trainer.fit


class Regression(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        loss = mse_loss(self.layer(inputs).squeeze(1), targets)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[pl.Trainer, pl.LightningModule, Any]:
    settings: dict[str, Any] = dict.fromkeys(OFF, False) | {"accelerator": "cpu", "max_epochs": 2}
    return pl.Trainer(**settings | trainer_arguments), Regression(), loader(shuffle=True)


if __name__ == "__main__":
    fit(*make())
