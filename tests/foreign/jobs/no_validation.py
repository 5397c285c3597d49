"""Neither a validation loader nor a validation step."""

from typing import Any

import lightning as L
from plain import Regression, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Regression(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
