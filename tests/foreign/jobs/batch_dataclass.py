"""A batch is a dataclass that holds lists of tensors beside tensors."""

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [40, 40]


@dataclass
class Batch:
    classes: torch.Tensor  # of all samples together: shape (5,)
    points: list[torch.Tensor]
    labels: torch.Tensor


def collate(samples: Any) -> Batch:
    points = [torch.rand(2 + index, 3) for index in samples]
    return Batch(torch.arange(5), points, torch.tensor(samples))


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(torch.stack([cloud.mean(0) for cloud in batch.points])).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": EPOCHS}
    return (
        L.Trainer(**settings | trainer_arguments),
        Job(),
        DataLoader(range(40), 12, collate_fn=collate),
    )  # type: ignore[arg-type]


if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
