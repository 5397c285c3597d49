"""Two unlike loaders at once; where the shorter one has ended its part is None."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [170, 170]


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        parts = batch.values()
        return torch.stack([self.layer(part).mean() for part in parts if part is not None]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": EPOCHS}
    few, many = DataLoader(torch.rand(20, 3), 8), DataLoader(torch.rand(150, 3), 28)
    loaders = {"few": few, "many": many}
    return L.Trainer(**settings | trainer_arguments), Job(), CombinedLoader(loaders, "max_size")


if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
