"""From a configuration to its data module, loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from hpml.config.instantiate import instantiate_target
from hpml.errors import UserError

if TYPE_CHECKING:
    import lightning as L


def build_data(cfg: DictConfig) -> L.LightningDataModule:
    """The data module of `data`, loaded. Raises UserError for bad data."""
    import lightning as L

    data = instantiate_target(cfg.data, "data")
    if not isinstance(data, L.LightningDataModule):
        raise UserError(f"data._target_={cfg.data._target_}: is no LightningDataModule")
    data.prepare_data()
    data.setup("fit")
    return data


def sizes_of(data: L.LightningDataModule) -> dict[str, int]:
    """Samples by split, as far as a data module tells."""
    splits: dict[str, Any] = {n: getattr(data, n, None) for n in ("train", "val", "test")}
    return {name: len(split) for name, split in splits.items() if hasattr(split, "__len__")}
