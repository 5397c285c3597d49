"""A callback that sets `trainer.should_stop` within the second epoch."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 32]  # Lightning still ends the validation


class Stops(L.Callback):
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        if trainer.global_step == 10:
            trainer.should_stop = True


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    callbacks = [Stops(), *trainer_arguments.pop("callbacks", [])]
    fitting = trainer(**{"callbacks": callbacks, "max_epochs": 5} | trainer_arguments)
    return fitting, Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
