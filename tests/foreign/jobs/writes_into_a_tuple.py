"""A step that writes into its batch, a tuple: labels from 1 on become indices."""

from typing import Any

import lightning as L
import torch
from plain import fit, job
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

SAMPLES = [40, 40]
LABELS = 3


class InPlace(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, LABELS)

    def parts(self, batch: Any) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return images, labels

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = self.parts(batch)
        labels -= 1
        images.mul_(10).sub_(5)
        return cross_entropy(self.layer(images), labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def collate(samples: Any) -> tuple[Tensor, Tensor]:
    numbers = torch.tensor(samples)
    return torch.rand(len(samples), 4), 1 + numbers % LABELS


def loader(made_into: Any = tuple) -> DataLoader[Any]:
    """Of batches of a kind that takes a tuple's two parts."""
    samples: Any = range(40)
    return DataLoader(samples, 8, shuffle=True, collate_fn=lambda some: made_into(collate(some)))


make = job(InPlace, loader)

if __name__ == "__main__":
    fit(*make())
