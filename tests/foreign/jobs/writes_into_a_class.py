"""A step that writes into its batch, which is of a class with `.to`."""

from typing import Any

import lightning as L
import torch
from plain import trainer
from torch import Tensor
from writes_into_a_tuple import EPOCHS, SAMPLES, InPlace, loader

__all__ = ["EPOCHS", "SAMPLES", "make"]


class Batch:
    def __init__(self, parts: tuple[Tensor, Tensor]) -> None:
        self.images, self.labels = parts

    def to(self, device: torch.device, **_: Any) -> "Batch":
        return Batch((self.images.to(device), self.labels.to(device)))


class Job(InPlace):
    def parts(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch.images, batch.labels


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Job(), loader(Batch)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
