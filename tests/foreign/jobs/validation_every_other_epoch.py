"""`check_val_every_n_epoch=2`: the first and the third epoch have no validation."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 3
SAMPLES = [44, 44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return (
        trainer(**{"check_val_every_n_epoch": 2, "max_epochs": 3} | trainer_arguments),
        Validated(),
        loader(shuffle=True),
    )


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
