"""Where the configuration lies, and what is in it."""

import difflib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpml.errors import PACKAGE, UserError, first_line

LEAST_LIKE = 0.7  # of a mistyped name and the one that was meant


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
    """The key of the configuration that looks most like a mistyped one.

    Each of its parts is like the other's: what a group's keys have in common says nothing.
    """
    known = [key for key in dotted_keys(cfg) if key != dotted]
    likeness = {key: _likeness(key.split("."), dotted.split(".")) for key in known}
    close = max(known, key=lambda key: likeness[key], default=None)
    if close is not None and likeness[close] >= LEAST_LIKE:
        return close
    # `batch_size=64` for `data.batch_size=64`
    same_name = [key for key in known if key.rpartition(".")[2] == dotted.rpartition(".")[2]]
    return same_name[0] if len(same_name) == 1 else None


def _likeness(parts: Sequence[str], others: Sequence[str]) -> float:
    """Of the two parts that are least alike; 0 for keys of another depth."""
    if len(parts) != len(others):
        return 0.0
    pairs = zip(parts, others, strict=True)
    return min(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)


def options_with(dotted: str) -> list[str]:
    """The options of a key's group that have it: `adam` and `adamw` of `optimizer.betas`."""
    group, _, key = dotted.partition(".")
    files = sorted((find_conf() / group).glob("*.yaml"))
    options = [file.stem for file in files if not file.stem.startswith("base_")]
    return [option for option in options if key in set(dotted_keys(_option(group, option)))]


@cache
def needed_keys() -> tuple[str, ...]:
    """Those that no run can do without."""
    ours = OmegaConf.load(find_conf() / "train.yaml")
    ours.trainer = OmegaConf.load(find_conf() / "trainer" / "default.yaml")
    keys = dotted_keys(ours)
    return tuple(key for key in keys if key.partition(".")[0] not in ("defaults", "hydra"))


@cache
def keys_below(programs: Sequence[str]) -> dict[str, list[str]]:
    """For each key of ours that has keys below it, and those of some programs, these."""
    read = {name: OmegaConf.load(find_conf() / f"{name}.yaml") for name in ("train", *programs)}
    # as they stand there: nothing is interpolated
    files: Any = {name: OmegaConf.to_container(of, resolve=False) for name, of in read.items()}
    groups = files["train"] | {name: files[name][name] for name in programs}
    mappings = {k: node for k, node in groups.items() if isinstance(node, dict) and k != "hydra"}
    return {key: [f"{key}.{name}" for name in node] for key, node in mappings.items()}


def _option(group: str, name: str) -> DictConfig:
    """What its file and those that it builds on hold."""
    node = OmegaConf.load(find_conf() / group / f"{name}.yaml")
    assert isinstance(node, DictConfig)
    bases = [
        each
        for each in node.pop("defaults", [])
        if isinstance(each, str) and (find_conf() / group / f"{each}.yaml").is_file()
    ]
    merged = OmegaConf.merge(*(_option(group, base) for base in bases), node)
    assert isinstance(merged, DictConfig)
    return merged


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """All keys of a configuration, groups and leaves, as they are written on the command line."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield f"{prefix}{key}"
            yield from dotted_keys(child, f"{prefix}{key}.")
    elif isinstance(node, DictConfig) and not node._is_none():
        for key in node:  # of which one may be a number
            dotted = prefix + str(key)
            yield dotted
            yield from dotted_keys(node._get_node(key), f"{dotted}.")


def spelled(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, DictConfig | ListConfig):
        value = OmegaConf.to_container(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
