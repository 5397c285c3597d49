"""`training_step(dataloader_iter)`: the module fetches its batches itself."""

from collections.abc import Iterator
from typing import Any

from plain import Validated, fit, job
from torch import Tensor

SAMPLES = [44, 44]


class Fetching(Validated):
    def training_step(self, dataloader_iter: Iterator[Any]) -> Tensor:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        loss = self.loss(batch)
        self.log("loss", loss, batch_size=len(batch[0]))
        return loss


make = job(Fetching)

if __name__ == "__main__":
    fit(*make())
