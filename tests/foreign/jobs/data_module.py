"""A data module whose loaders exist only after `prepare_data` and `setup`."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from plain import Made, Regression, fit, samples, trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split

SAMPLES = [44, 44]


class Prepared(L.LightningDataModule):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.file = Path(folder) / "samples.pt"
        self.stages: list[str] = []

    def prepare_data(self) -> None:
        if not self.file.exists():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(samples(64).tensors, self.file)

    def setup(self, stage: str) -> None:
        self.stages.append(stage)
        data = TensorDataset(*torch.load(self.file))
        self.train, self.val = random_split(data, [44, 20])

    def teardown(self, stage: str) -> None:
        self.stages.append(f"after {stage}")
        del self.train, self.val

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val, batch_size=8)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> list[Tensor]:
        return [batch[0] * 0.5, batch[1]]


class Validated(Regression):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


def make(**trainer_arguments: Any) -> Made:
    fitting = trainer(**trainer_arguments)
    data = Prepared(fitting.default_root_dir)
    data.prepare_data()  # as on many machines, before any training
    return fitting, Validated(), data


if __name__ == "__main__":
    fit(*make())
