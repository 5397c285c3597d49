"""Two validation loaders, one of which has no batches."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer
from torch import Tensor

EPOCHS = 2
SAMPLES = [44, 44]


class Twice(Validated):
    def validation_step(  # type: ignore[override]
        self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.log("val_loss", self.loss(batch))

    def val_dataloader(self) -> Any:
        return [loader(20), loader(12), []]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Twice(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
