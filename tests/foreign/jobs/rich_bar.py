"""A progress bar of rich's, which keeps a live display."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    callbacks = [RichProgressBar(), *trainer_arguments.pop("callbacks", [])]
    fitting = trainer(**{"enable_progress_bar": True, "callbacks": callbacks} | trainer_arguments)
    return fitting, Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
