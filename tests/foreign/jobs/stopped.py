"""A callback that sets `trainer.should_stop` within the second epoch."""

from typing import Any

import lightning as L
from plain import fit, job

SAMPLES = [44, 32]  # Lightning still ends the validation


class Stops(L.Callback):
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        if trainer.global_step == 10:
            trainer.should_stop = True


make = job(own=lambda: [Stops()], max_epochs=5)

if __name__ == "__main__":
    fit(*make())
