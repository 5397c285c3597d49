"""Two validation loaders, one of which has no batches."""

from typing import Any

from plain import Validated, fit, job, loader
from torch import Tensor

SAMPLES = [44, 44]


class Twice(Validated):
    def validation_step(  # type: ignore[override]
        self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.log("val_loss", self.loss(batch))

    def val_dataloader(self) -> Any:
        return [loader(20), loader(12), []]


make = job(Twice)

if __name__ == "__main__":
    fit(*make())
