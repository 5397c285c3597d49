"""A batch is a dictionary whose first tensor is the size of the images."""

from typing import Any

import torch
from plain import Averaged, fit, job
from torch.utils.data import DataLoader

SAMPLES = [40, 40]


def collate(samples: Any) -> Any:
    images = torch.stack(samples)
    return {"orig_size": torch.tensor(images.shape[-2:]), "pixel_values": images}


class Job(Averaged):
    def rows(self, batch: Any) -> torch.Tensor:
        return batch["pixel_values"].mean((2, 3))


make = job(Job, lambda: DataLoader(torch.rand(40, 3, 6, 6), 12, collate_fn=collate))

if __name__ == "__main__":
    fit(*make())
