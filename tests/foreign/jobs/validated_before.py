"""The Trainer has validated before its fit, and tests after it."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer
from torch import Tensor

EPOCHS = 2
SAMPLES = [44, 44]


class Tested(Validated):
    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    fitting, module = trainer(**trainer_arguments), Tested()
    fitting.validate(module, verbose=False)
    return fitting, module, loader(shuffle=True)


def fit(fitting: L.Trainer, module: L.LightningModule, data: Any) -> None:
    fitting.fit(module, data)
    fitting.test(module, loader(20), verbose=False)


if __name__ == "__main__":
    fit(*make())
