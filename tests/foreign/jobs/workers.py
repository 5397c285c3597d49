"""Two processes load, and persist between the epochs."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return (
        trainer(**trainer_arguments),
        Validated(),
        loader(shuffle=True, num_workers=2, persistent_workers=True),
    )


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
