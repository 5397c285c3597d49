"""`fast_dev_run=True`: one batch of training and one of validation."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 1
SAMPLES = [8]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**{"fast_dev_run": True} | trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
