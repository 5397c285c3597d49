"""A batch is a dataclass that holds lists of tensors beside tensors."""

from dataclasses import dataclass
from typing import Any

import torch
from plain import Averaged, fit, job
from torch.utils.data import DataLoader

SAMPLES = [40, 40]


@dataclass
class Batch:
    classes: torch.Tensor  # of all samples together: shape (5,)
    points: list[torch.Tensor]
    labels: torch.Tensor


def collate(samples: Any) -> Batch:
    points = [torch.rand(2 + index, 3) for index in samples]
    return Batch(torch.arange(5), points, torch.tensor(samples))


class Job(Averaged):
    def rows(self, batch: Batch) -> torch.Tensor:
        return torch.stack([cloud.mean(0) for cloud in batch.points])


make = job(Job, lambda: DataLoader(range(40), 12, collate_fn=collate))

if __name__ == "__main__":
    fit(*make())
