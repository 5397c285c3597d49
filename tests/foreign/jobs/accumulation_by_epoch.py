"""A callback that changes with the epochs how many batches the optimizer steps once for."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    own = GradientAccumulationScheduler({0: 2, 1: 4})
    callbacks = [own, *trainer_arguments.pop("callbacks", [])]
    return trainer(callbacks=callbacks, **trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
