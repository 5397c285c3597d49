"""What a run is compared by in TensorBoard's HParams."""

import os

from omegaconf import DictConfig, OmegaConf

from hpml.config import command_line
from hpml.config.fingerprint import is_left_out, key_of
from hpml.config.group_choices import name_of
from hpml.system.environment import SWEPT

# Keys that the entry of a run by itself always has.
HPARAMS = ("optimizer.lr", "data.batch_size", "data.num_workers", "data.pipeline", "device", "seed")


def hparams_of(cfg: DictConfig) -> dict[str, bool | int | float | str]:
    """The keys that its sweep varies; of a single run HPARAMS, and what the command line gives."""
    swept = [key for key in os.environ.get(SWEPT, "").split(",") if key]
    given = map(key_of, command_line.overrides())
    found: dict[str, bool | int | float | str] = {}
    for key in swept or dict.fromkeys([*HPARAMS, *given]):
        value = OmegaConf.select(cfg, key)
        if OmegaConf.is_dict(value) and "_target_" in value:
            value = name_of(value)
        if not is_left_out(key) and isinstance(value, bool | int | float | str):
            found[key] = value
    return found
