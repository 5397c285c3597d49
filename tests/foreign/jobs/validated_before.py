"""The Trainer has validated before its fit, and tests after it."""

from typing import Any

import lightning as L
from plain import Made, Validated, loader, trainer
from torch import Tensor

SAMPLES = [44, 44]


class Tested(Validated):
    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))


def make(**trainer_arguments: Any) -> Made:
    fitting, module = trainer(**trainer_arguments), Tested()
    fitting.validate(module, verbose=False)
    return fitting, module, loader(shuffle=True)


def fit(fitting: L.Trainer, module: L.LightningModule, data: Any) -> None:
    fitting.fit(module, data)
    fitting.test(module, loader(20), verbose=False)


if __name__ == "__main__":
    fit(*make())
