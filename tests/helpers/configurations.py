"""Configurations that tests share."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from hpml.config.conf import find_conf

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
Compose = Callable[..., DictConfig]

TINY = (
    *("data=synthetic", "model=small", "device=cpu", "callbacks=none", "trainer.max_epochs=2"),
    *("data.train_samples=96", "data.test_samples=32", "data.batch_size=32"),
)
QUICK = (*TINY, "model.width=4")
OWN_MODULE: dict[str, Any] = {"_target_": "helpers.own.OwnModule", "num_classes": None}
OWN_MODULE |= {"size": 8}  # that of `data.image_size`
OWN_DATA = {"_target_": "helpers.own.OwnData"}


def stress(*values: Any) -> Any:
    """A case of a parametrised test that only the long suite runs."""
    return pytest.param(*values, marks=pytest.mark.stress)


def slow(*values: Any) -> Any:
    """A case of a parametrised test that takes long: `make check` and CI run it."""
    return pytest.param(*values, marks=pytest.mark.slow)


@cache
def _of_files(words: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        return compose("train", overrides=list(words))


def _is_value(word: Override) -> bool:
    is_group = (find_conf() / word.key_or_group).is_dir()
    return not (is_group or word.is_add() or word.is_force_add() or word.is_delete())


def composed(
    run_dir: Path, *overrides: str, typed: bool = False, **groups: dict[str, Any]
) -> DictConfig:
    """A run's configuration; `groups` replace choices, `typed` overrides are a command line's."""
    words = [f"run_dir={run_dir}", "resume=never", *overrides]
    if typed:
        with initialize_config_dir(str(find_conf()), version_base="1.3"):
            cfg = compose("train", overrides=words, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
    else:
        # what chooses files once for all tests: values are set behind that, as Hydra does it
        parsed = OverridesParser.create().parse_overrides(words)
        values = [word for word in parsed if _is_value(word)]
        files = tuple(str(word.input_line) for word in parsed if word not in values)
        cfg = deepcopy(_of_files(files))
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    for group, node in groups.items():
        cfg[group] = node
    return cfg
