"""Images of differing sizes: a batch is a tuple of images and one of targets."""

from collections.abc import Sequence
from typing import Any

import torch
from plain import Averaged, fit, job
from torch.utils.data import DataLoader

SAMPLES = [40, 40]


def sample(index: int) -> Any:
    """An image of a size of its own, and its boxes."""
    image = torch.rand(3, 4 + index % 3, 4)
    return image, {"image_id": torch.tensor([index]), "boxes": torch.rand(index % 9, 4)}


def collate(samples: Any) -> Any:
    return tuple(zip(*samples, strict=True))


class Detector(Averaged):
    def images(self, batch: Any) -> Sequence[torch.Tensor]:
        images: Sequence[torch.Tensor] = batch[0]
        return images

    def rows(self, batch: Any) -> torch.Tensor:
        return torch.stack([image.mean((1, 2)) for image in self.images(batch)])


make = job(Detector, lambda: DataLoader(list(map(sample, range(40))), 12, collate_fn=collate))

if __name__ == "__main__":
    fit(*make())
