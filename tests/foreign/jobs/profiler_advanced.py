"""A profiler of the user's own: `profiler="advanced"`."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return (
        trainer(**{"profiler": "advanced"} | trainer_arguments),
        Validated(),
        loader(shuffle=True),
    )


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
