"""Configurations that tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
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


def composed(
    run_dir: Path, *overrides: str, typed: bool = False, **groups: dict[str, Any]
) -> DictConfig:
    """A run's configuration; `groups` replace choices, `typed` overrides are a command line's."""
    words = [f"run_dir={run_dir}", "resume=never", *overrides]
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        cfg = compose("train", overrides=words, return_hydra_config=typed)
    if typed:
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
    for group, node in groups.items():
        cfg[group] = node
    return cfg
