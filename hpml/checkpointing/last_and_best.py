"""`last.ckpt` and `best.ckpt`: when they are written, by which metric, and what is in them."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from hpml.callbacks.observer import Observer
from hpml.checkpointing.plain_files import written_in_plain_types
from hpml.config.conf import lower_is_better, resolve
from hpml.errors import RunFailedError, UserError

log = logging.getLogger("hpml")


class Checkpoint(ModelCheckpoint, Observer):
    """Lightning's ModelCheckpoint under one fixed name, with more of the run inside.

    `contents` are added to the checkpoint's own keys. All of it is written in plain types, so that
    the file loads with `torch.load(..., weights_only=True)`; what cannot be is left out, and told.

    Logs nothing.
    """

    # saves at an epoch's end alone, of which Lightning's hook makes sure at each batch
    on_train_batch_end: Any = None

    def __init__(self, contents: dict[str, Any], **settings: Any) -> None:
        super().__init__(
            auto_insert_metric_name=False, enable_version_counter=False, save_top_k=1, **settings
        )
        self.contents = contents
        self._told: set[str] = set()

    @property
    def state_key(self) -> str:
        """Tells `last` and `best` apart when their states are restored."""
        return f"{type(self).__name__}:{self.filename}"

    def _save_topk_checkpoint(
        self, trainer: L.Trainer, monitor_candidates: dict[str, torch.Tensor]
    ) -> None:
        """Says what could be monitored where the monitor is not logged."""
        if self.monitor is not None and self.monitor not in monitor_candidates:
            logged = ", ".join(trainer.callback_metrics) or "no metrics"
            raise UserError(
                f"monitor={self.monitor}: the module does not log it, but {logged}; "
                "with data.val_split the best epoch is chosen by it"
            )
        super()._save_topk_checkpoint(trainer, monitor_candidates)

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        """Gives the file its name once it is whole, so that a full disk leaves the one before."""
        temporary = Path(f"{filepath}.part")
        try:
            with written_in_plain_types(trainer.strategy, self._tell):
                super()._save_checkpoint(trainer, str(temporary))
            if trainer.is_global_zero:
                temporary.replace(filepath)
        finally:
            if trainer.is_global_zero:
                temporary.unlink(missing_ok=True)
        self._last_checkpoint_saved = filepath

    def _tell(self, words: str) -> None:
        """Once for each; what is true of `best` is of `last` too."""
        if self.monitor is None and words not in self._told:
            self._told.add(words)
            log.warning(f"{self.filename}.ckpt {words}")

    def _should_remove_checkpoint(self, trainer: L.Trainer, previous: str, current: str) -> bool:
        """Nothing: the one name is written over; a path in a stranger's checkpoint may be any."""
        return False

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the contents, and refuses weights that are not finite, whatever the module."""
        for name, value in checkpoint["state_dict"].items():
            is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
            if is_float and not value.isfinite().all():
                raise RunFailedError(
                    f"{name} is not finite after epoch {trainer.current_epoch}; "
                    "no checkpoint was written. Lower the learning rate"
                )
        checkpoint.update(self.contents)


def build_checkpoints(cfg: DictConfig, names: dict[str, str], directory: Path) -> list[Checkpoint]:
    """`last.ckpt` after each epoch; `best.ckpt` too where validation data was kept apart.

    Without it, the best would be chosen on the test set.
    """
    contents = {"hpml_config": resolve(cfg), "hpml_names": names}
    folder = directory / "checkpoints"
    last = Checkpoint(contents, dirpath=folder, filename="last", save_on_train_epoch_end=True)
    if not cfg.data.get("val_split"):
        return [last]
    mode = "min" if lower_is_better(cfg.monitor, cfg.monitor_mode) else "max"
    best = Checkpoint(contents, dirpath=folder, filename="best", monitor=cfg.monitor, mode=mode)
    return [last, best]
