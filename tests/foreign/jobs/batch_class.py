"""A batch is of a class with `.to`, which begins with what has another length."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [40, 40]


class ImageList:
    """Images padded to one size; begins with the sizes that all of them share."""

    def __init__(self, samples: Any) -> None:
        self.padded_to = torch.tensor([6, 6])
        self.tensors = torch.stack(samples)

    def to(self, device: torch.device, **_: Any) -> "ImageList":
        self.tensors = self.tensors.to(device)
        return self


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch.tensors.mean((2, 3))).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": EPOCHS}
    return (
        L.Trainer(**settings | trainer_arguments),
        Job(),
        DataLoader(torch.rand(40, 3, 6, 6), 12, collate_fn=ImageList),
    )  # type: ignore[arg-type]


if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
