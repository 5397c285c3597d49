"""Checkpoints of plain types that say what they were trained with."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint under one fixed name, with the run's configuration inside.

    `config` is made of plain dictionaries and lists, so the file loads with
    `torch.load(..., weights_only=True)`; it is kept under `hpml_config`.

    Logs nothing.
    """

    def __init__(self, config: dict[str, Any], **settings: Any) -> None:
        super().__init__(
            auto_insert_metric_name=False, enable_version_counter=False, save_top_k=1, **settings
        )
        self.config = config

    @property
    def state_key(self) -> str:
        """Tells `last` and `best` apart when their states are restored."""
        return f"{type(self).__name__}:{self.filename}"

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the configuration."""
        checkpoint["hpml_config"] = self.config
