"""Two processes that Lightning starts by the script itself: `strategy="ddp"`, over gloo."""

from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]
PROCESSES = 2


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    settings = {"strategy": DDPStrategy(process_group_backend="gloo"), "devices": 2}
    return trainer(**settings | trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
