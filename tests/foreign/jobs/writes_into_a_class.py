"""A step that writes into its batch, which is of a class with `.to`."""

from typing import Any

import torch
from plain import fit, job
from torch import Tensor
from writes_into_a_tuple import InPlace, loader

SAMPLES = [40, 40]


class Batch:
    def __init__(self, parts: tuple[Tensor, Tensor]) -> None:
        self.images, self.labels = parts

    def to(self, device: torch.device, **_: Any) -> "Batch":
        return Batch((self.images.to(device), self.labels.to(device)))


class Job(InPlace):
    def parts(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch.images, batch.labels


make = job(Job, lambda: loader(Batch))

if __name__ == "__main__":
    fit(*make())
