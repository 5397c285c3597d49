"""Callbacks, a logger and a scheduler of a metric, as the module and its user choose them."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from plain import Made, Validated, fit, loader, trainer

SAMPLES = [44, 44]


class Bringing(Validated):
    def configure_callbacks(self) -> list[L.Callback]:
        return [EarlyStopping("val_loss"), ModelCheckpoint(monitor="val_loss")]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        made = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "monitor": "val_loss"}}


def make(**trainer_arguments: Any) -> Made:
    settings: dict[str, Any] = {"enable_checkpointing": True, "log_every_n_steps": 1}
    settings["callbacks"] = [LearningRateMonitor(), *trainer_arguments.pop("callbacks", [])]
    settings["logger"] = CSVLogger(trainer_arguments.get("default_root_dir", Path.cwd()))
    return trainer(**settings | trainer_arguments), Bringing(), loader(shuffle=True)


if __name__ == "__main__":
    fit(*make())
