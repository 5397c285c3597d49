"""Modules, data and callbacks of a user's own, which the configurations of tests name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from hpml.models.networks import small


class OwnModule(L.LightningModule):
    """Logs `my_loss` alone."""

    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * size * size, num_classes)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])
        self.log("my_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def broken() -> torch.nn.Module:
    return torch.nn.Linear(0.5, 3)  # type: ignore[arg-type]


def network(num_classes: int) -> torch.nn.Module:
    """A target that makes one of our networks."""
    return small(num_classes, width=4)


def linear(num_classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, num_classes))


class OwnData(L.LightningDataModule):
    """Three batches of black images, and no validation."""

    num_classes = 2

    def train_dataloader(self) -> Any:
        images, labels = torch.zeros(12, 3, 8, 8), torch.zeros(12, dtype=torch.long)
        return DataLoader(TensorDataset(images, labels), batch_size=4)


class OwnValidatedData(OwnData):
    val_dataloader = OwnData.train_dataloader


class Hooked(L.Callback):
    """Does in its hooks what a test has put into `hooks`."""

    hooks: ClassVar[dict[str, Callable[..., None]]] = {}

    def __init__(self) -> None:
        for name, hook in self.hooks.items():
            setattr(self, name, hook)


class StopError(Exception):
    """Stands for whatever ends a process."""


class Resumable(L.Callback):
    """A callback with which a run can be resumed."""

    def state_dict(self) -> dict[str, Any]:
        """It has none that a resume checkpoint would have to keep."""
        return {}


class ResumableHooked(Resumable, Hooked):
    pass


def hooked(resumable: bool = False, **hooks: Callable[..., None]) -> str:
    """The override that adds a callback with these hooks."""
    Hooked.hooks = hooks
    return f"+callbacks.hooked._target_=helpers.own.{'Resumable' if resumable else ''}Hooked"


class Noting(Resumable):
    """Appends the number of each batch of the run, and the sum of its images, to a file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Writes one line, which a kill leaves whole or not there."""
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
        line = f"{progress.processed} {float(batch[0].double().sum())!r}\n"
        with Path(self.file).open("ab", buffering=0) as opened:
            os.write(opened.fileno(), line.encode())


def noted(file: Path) -> dict[int, str]:
    """What each batch held; what was lost and trained again counts once."""
    lines = file.read_text().splitlines()
    return {int(number): held for number, held in (line.split() for line in lines)}
