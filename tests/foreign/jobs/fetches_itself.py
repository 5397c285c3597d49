"""`training_step(dataloader_iter)`: the module fetches its batches itself."""

from collections.abc import Iterator
from typing import Any

import lightning as L
from plain import Validated, loader, trainer
from torch import Tensor

EPOCHS = 2
SAMPLES = [44, 44]


class Fetching(Validated):
    def training_step(self, dataloader_iter: Iterator[Any]) -> Tensor:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        loss = self.loss(batch)
        self.log("loss", loss, batch_size=len(batch[0]))
        return loss


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Fetching(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
