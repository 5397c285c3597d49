"""A batch is of a class with `.to`, which begins with what has another length."""

from typing import Any

import torch
from plain import Averaged, fit, job
from torch.utils.data import DataLoader

SAMPLES = [40, 40]


class ImageList:
    """Images padded to one size; begins with the sizes that all of them share."""

    def __init__(self, samples: Any) -> None:
        self.padded_to = torch.tensor([6, 6])
        self.tensors = torch.stack(samples)

    def to(self, device: torch.device, **_: Any) -> "ImageList":
        self.tensors = self.tensors.to(device)
        return self


class Job(Averaged):
    def rows(self, batch: ImageList) -> torch.Tensor:
        return batch.tensors.mean((2, 3))


make = job(Job, lambda: DataLoader(torch.rand(40, 3, 6, 6), 12, collate_fn=ImageList))

if __name__ == "__main__":
    fit(*make())
