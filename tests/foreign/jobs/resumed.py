"""Resumed in the middle of an epoch: Lightning trains the three batches that it still misses."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from plain import Made, Validated, loader, trainer

SAMPLES = [24, 44]  # by a loader that begins anew


def make(**trainer_arguments: Any) -> Made:
    fitting, module, data = trainer(**trainer_arguments), Validated(), loader()
    folder = Path(fitting.default_root_dir)
    saving = ModelCheckpoint(folder, filename="middle", every_n_train_steps=3)
    settings: dict[str, Any] = {"enable_checkpointing": True, "callbacks": [saving]}
    trainer(**settings, default_root_dir=folder, max_steps=4).fit(module, data)
    return fitting, module, data


def fit(fitting: L.Trainer, module: L.LightningModule, data: Any) -> None:
    fitting.fit(module, data, ckpt_path=Path(fitting.default_root_dir) / "middle.ckpt")


if __name__ == "__main__":
    fit(*make())
