"""A step that writes into its batch, a dataclass."""

from dataclasses import dataclass
from typing import Any

import lightning as L
from plain import trainer
from torch import Tensor
from writes_into_a_tuple import EPOCHS, SAMPLES, InPlace, loader

__all__ = ["EPOCHS", "SAMPLES", "make"]


@dataclass
class Batch:
    images: Tensor
    labels: Tensor


class Job(InPlace):
    def parts(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch.images, batch.labels


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Job(), loader(lambda parts: Batch(*parts))


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
