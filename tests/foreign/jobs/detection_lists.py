"""Images of differing sizes: a batch is a tuple of images and one of targets."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [40, 40]


def sample(index: int) -> Any:
    """An image of a size of its own, and its boxes."""
    image = torch.rand(3, 4 + index % 3, 4)
    return image, {"image_id": torch.tensor([index]), "boxes": torch.rand(index % 9, 4)}


def collate(samples: Any) -> Any:
    return tuple(zip(*samples, strict=True))


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, _ = batch
        return self.layer(torch.stack([image.mean((1, 2)) for image in images])).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": EPOCHS}
    return (
        L.Trainer(**settings | trainer_arguments),
        Job(),
        DataLoader(list(map(sample, range(40))), 12, collate_fn=collate),
    )  # type: ignore[arg-type]


if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
