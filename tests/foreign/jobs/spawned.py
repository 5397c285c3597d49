"""Two processes that torch spawns: `strategy="ddp_spawn"`."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]
PROCESSES = 2
DIAGNOSABLE = False  # the processes of a diagnosis run their own script


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    settings: dict[str, Any] = {"strategy": "ddp_spawn", "devices": 2}
    return trainer(**settings | trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
