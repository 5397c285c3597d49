"""The second fit of a Trainer whose callback has left it with another number of batches a step."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    own = GradientAccumulationScheduler({0: 2, 1: 4})
    callbacks = [own, *trainer_arguments.pop("callbacks", [])]
    fitting = trainer(callbacks=callbacks, **trainer_arguments)
    module, data = Validated(), loader(shuffle=True)
    fitting.fit(module, data)
    fitting.fit_loop.max_epochs = 4
    return fitting, module, data


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
