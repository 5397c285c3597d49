"""A regression with dropout, a shuffled loader whose last batch is short, and a validation."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

EPOCHS = 2
SAMPLES = [44, 44]
OFF = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")


class Regression(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1))

    def loss(self, batch: list[Tensor]) -> Tensor:
        inputs, targets = batch
        return mse_loss(self.network(inputs).squeeze(1), targets)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Validated(Regression):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def val_dataloader(self) -> Any:
        return loader(20)


def samples(count: int) -> TensorDataset:
    inputs = torch.linspace(-1, 1, 4 * count).view(count, 4)
    return TensorDataset(inputs, inputs.sum(1).sin())


def loader(count: int = 44, **settings: Any) -> DataLoader[Any]:
    return DataLoader(samples(count), batch_size=8, **settings)


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(samples(44))


def trainer(**arguments: Any) -> L.Trainer:
    """A quiet one of two epochs, on the CPU."""
    return L.Trainer(
        **dict.fromkeys(OFF, False) | {"accelerator": "cpu", "max_epochs": 2} | arguments
    )


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
