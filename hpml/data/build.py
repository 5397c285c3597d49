"""From a configuration to its data module, loaded."""

import lightning as L
from omegaconf import DictConfig

from hpml.config.instantiate import instantiate_target
from hpml.errors import UserError


def build_data(cfg: DictConfig) -> L.LightningDataModule:
    """The data module of `data`, loaded. Raises UserError for bad data."""
    data = instantiate_target(cfg.data, "data")
    if not isinstance(data, L.LightningDataModule):
        raise UserError(f"data._target_={cfg.data._target_}: is no LightningDataModule")
    data.prepare_data()
    data.setup("fit")
    return data
