"""Time is over after the first step: `max_time`."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 1
SAMPLES = [8]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return (
        trainer(**{"max_time": {"microseconds": 1}, "max_epochs": -1} | trainer_arguments),
        Validated(),
        loader(shuffle=True),
    )


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
