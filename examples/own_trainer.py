"""Where the time of your own training goes: one import, one argument.

    python examples/own_trainer.py

The module, the data and the Trainer know nothing of hpml. The data set is slow on purpose; the
verdict says so. `outputs/own_trainer/record.json` keeps all figures.
"""

import time

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hpml.callbacks import phase_timers


class Spirals(Dataset[tuple[Tensor, Tensor]]):
    """Points on two spirals, each a millisecond in the making."""

    def __len__(self) -> int:
        return 2000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        time.sleep(0.001)
        label = index % 2
        radius = torch.rand(1)
        angle = 6 * radius + torch.pi * label
        return torch.cat([radius * angle.cos(), radius * angle.sin()]), torch.tensor(label)


class Classifier(L.LightningModule):
    """Two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(),
            torch.nn.Linear(64, 2),
        )  # fmt: skip

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of points (B, 2) and labels (B,)."""
        points, labels = batch
        loss = torch.nn.functional.cross_entropy(self.network(points), labels)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


if __name__ == "__main__":
    trainer = L.Trainer(
        max_epochs=3,
        callbacks=[*phase_timers(record="outputs/own_trainer")],  # … and the argument
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), DataLoader(Spirals(), batch_size=20, shuffle=True))
