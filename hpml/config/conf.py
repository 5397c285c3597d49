"""Where the configuration lies, and what is in it."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpml.errors import UserError, first_line

PACKAGE = Path(__file__).parents[1]


def find_conf() -> Path:
    """The configuration folder: inside the package in a wheel, beside it in the repository."""
    for folder in (PACKAGE / "conf", PACKAGE.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError(f"no configuration folder in {PACKAGE} or beside it: install hpml again")


def has_curves(cfg: DictConfig) -> bool:
    """Whether a TensorBoard logger is chosen, and used."""
    if cfg.trainer.get("fast_dev_run"):
        return False
    targets = (str((each or {}).get("_target_")) for each in (cfg.get("logger") or {}).values())
    return any(target.endswith("TensorBoardLogger") for target in targets)


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain dictionaries, its interpolations resolved."""
    try:
        resolved: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key!s}: {first_line(error)}") from error
    return {str(key): value for key, value in resolved.items()}


def lower_is_better(monitor: str, mode: str) -> bool:
    """Of the metric that `monitor` names, by `monitor_mode`; with `auto` its name says."""
    return mode == "min" or (mode != "max" and ("loss" in monitor or "error" in monitor))


def closest_key(cfg: DictConfig, dotted: str) -> str | None:
    """The key of the configuration that looks most like a mistyped one."""
    known = [key for key in dotted_keys(cfg) if key != dotted]
    close = difflib.get_close_matches(dotted, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    # `batch_size=64` for `data.batch_size=64`
    same_name = [key for key in known if key.rpartition(".")[2] == dotted.rpartition(".")[2]]
    return same_name[0] if len(same_name) == 1 else None


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """All keys of a configuration, groups and leaves, as they are written on the command line."""
    if isinstance(node, DictConfig):
        for key in map(str, node):
            yield prefix + key
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                yield from dotted_keys(child, f"{prefix}{key}.")


def spelled(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, DictConfig | ListConfig):
        value = OmegaConf.to_container(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
