"""A batch is a dictionary whose first tensor is the size of the images."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [40, 40]


def collate(samples: Any) -> Any:
    images = torch.stack(samples)
    return {"orig_size": torch.tensor(images.shape[-2:]), "pixel_values": images}


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch["pixel_values"].mean((2, 3))).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": EPOCHS}
    return (
        L.Trainer(**settings | trainer_arguments),
        Job(),
        DataLoader(torch.rand(40, 3, 6, 6), 12, collate_fn=collate),
    )  # type: ignore[arg-type]


if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
