"""L-BFGS, which calls its closure several times a step."""

from typing import Any

import lightning as L
import torch
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


class SecondOrder(Validated):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), SecondOrder(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
