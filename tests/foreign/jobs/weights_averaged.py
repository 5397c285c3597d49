"""Stochastic weight averaging from the second epoch on; Lightning then runs one epoch more."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging
from plain import Validated, loader, trainer

EPOCHS = 3
SAMPLES = [44, 44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    own = StochasticWeightAveraging(0.05, swa_epoch_start=1)
    callbacks = [own, *trainer_arguments.pop("callbacks", [])]
    return trainer(callbacks=callbacks, **trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
