"""Generated images through each of the pipelines, as a Trainer would see them."""

from typing import Any

import torch
from torch import Tensor

from hpml.data import ImageDataModule, Synthetic


def set_up(kind: type[ImageDataModule], **settings: Any) -> Any:
    """Data whose pixels become those of [−2, 2], in batches of four unless told else."""
    data = kind(**{"batch_size": 4, "mean": [0.5] * 3, "std": [0.25] * 3} | settings)
    data.setup()
    return data


def make_data(**settings: Any) -> Any:
    size = {"train_samples": 80, "test_samples": 20, "image_size": 12, "batch_size": 16}
    return set_up(Synthetic, **size | settings)


def batches(data: ImageDataModule, epochs: int = 2) -> list[tuple[Tensor, Tensor]]:
    """The finished training batches of some epochs through one loader."""
    loader: Any = data.train_dataloader()
    seen = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            seen.append(data.on_after_batch_transfer(data.on_before_batch_transfer(batch, 0), 0))
    return seen


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )
