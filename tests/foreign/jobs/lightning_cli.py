"""LightningCLI makes Trainer, module and data from its arguments."""

from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningCLI
from plain import OFF, Made, Validated, fit, loader

SAMPLES = [44, 44]


class Data(L.LightningDataModule):
    def __init__(self, count: int = 10) -> None:
        super().__init__()
        self.count = count

    def train_dataloader(self) -> Any:
        return loader(self.count, shuffle=True)


def make(**trainer_arguments: Any) -> Made:
    cli = LightningCLI(
        Validated,
        Data,
        args=["--data.count=44", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"],
        trainer_defaults=dict.fromkeys(OFF, False) | trainer_arguments,
        save_config_callback=None,
        run=False,
    )
    return cli.trainer, cli.model, cli.datamodule


if __name__ == "__main__":
    fit(*make())
