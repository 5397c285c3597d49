"""Stochastic weight averaging with batch normalisation, for which Lightning runs an epoch more."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging
from plain import Validated, loader, trainer
from torch import nn

EPOCHS = 3
SAMPLES = [44, 44, 44]


class Normalised(Validated):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    own = StochasticWeightAveraging(0.05, swa_epoch_start=1)
    callbacks = [own, *trainer_arguments.pop("callbacks", [])]
    return trainer(callbacks=callbacks, **trainer_arguments), Normalised(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
