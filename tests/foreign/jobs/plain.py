"""A regression with dropout, a shuffled loader whose last batch is short, and a validation.

The other jobs of this folder are made of its parts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

SAMPLES = [44, 44]
OFF = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
Made = tuple[L.Trainer, L.LightningModule, Any]


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


class Averaged(L.LightningModule):
    """Learns from batches of any kind, as far as they hold rows of three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def rows(self, batch: Any) -> Tensor:
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(self.rows(batch)).mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def samples(count: int) -> TensorDataset:
    inputs = torch.linspace(-1, 1, 4 * count).view(count, 4)
    return TensorDataset(inputs, inputs.sum(1).sin())


def loader(count: int = 44, **settings: Any) -> DataLoader[Any]:
    return DataLoader(samples(count), batch_size=8, **settings)


def shuffled() -> DataLoader[Any]:
    return loader(shuffle=True)


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(samples(44))


def trainer(**arguments: Any) -> L.Trainer:
    """A quiet one of two epochs, on the CPU."""
    return L.Trainer(
        **dict.fromkeys(OFF, False) | {"accelerator": "cpu", "max_epochs": 2} | arguments
    )


def job(
    module: Callable[[], Any] = Validated,
    data: Callable[[], Any] | None = shuffled,
    own: Callable[[], Sequence[L.Callback]] = tuple,
    **settings: Any,
) -> Callable[..., Made]:
    """The `make` of a job: this one with another module, other data (None: the module has its own),
    callbacks of its own, or other settings of the Trainer.
    """

    def make(callbacks: Sequence[L.Callback] = (), **more: Any) -> Made:
        fitting = trainer(callbacks=[*own(), *callbacks], **settings | more)
        return fitting, module(), data() if data else None

    return make


def fit(fitting: L.Trainer, module: L.LightningModule, data: Any) -> None:
    fitting.fit(module, data)


make = job()

if __name__ == "__main__":
    fit(*make())
