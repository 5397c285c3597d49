"""The second fit of one Trainer: it trains two epochs more."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    fitting, module, data = trainer(**trainer_arguments), Validated(), loader(shuffle=True)
    fitting.fit(module, data)
    fitting.fit_loop.max_epochs = 4
    return fitting, module, data


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
