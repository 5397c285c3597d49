"""`max_steps=8` ends the second epoch after two of six batches."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 16]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return (
        trainer(**{"max_steps": 8, "max_epochs": -1} | trainer_arguments),
        Validated(),
        loader(shuffle=True),
    )


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
