"""What the tests' processes remember and leave out is what Hydra would find out."""

from typing import Any

import pytest
from helpers import left_out, remembered
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from hpml.config.conf import find_conf

WORDS = ["seed=3", "model=small optimizer=adam optimizer.lr=1", "logger=[csv] ~callbacks +x.y=1"]
WORDS += ["experiment=[demo,fast] model.width=8", "model=small hydra.job.chdir=true"]


def composition(words: str) -> Any:
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        cfg = compose("train", words.split(), return_hydra_config=True)
    flags = [(cfg._get_flag(name), cfg.hydra._get_flag(name)) for name in ("struct", "readonly")]
    return OmegaConf.to_container(cfg, resolve=False), flags


@pytest.mark.parametrize("words", WORDS)
def test_a_composition_is_hydras(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time, when it is kept, and the second; other values of it change nothing."""
    first, _, second = composition(words), composition(f"{words} seed=8"), composition(words)
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", remembered.create_defaults_list)
    name = "_compose_config_from_defaults_list"
    monkeypatch.setattr(ConfigLoaderImpl, name, remembered._composed)
    assert first == second == composition(words)


@pytest.mark.parametrize("name", left_out.PROGRAMS)
def test_a_plain_configuration_is_no_sweep(name: str) -> None:
    """None of our programs' files says so by itself, where nobody looks; an experiment may."""
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        assert left_out._get_mode(hydra, name, ["seed=3"]) in (None, RunMode.RUN)
        assert left_out._mode(hydra, name, ["seed=3"]) is None
        swept = left_out._mode(hydra, "train", ["experiment=optimizers"])
    assert swept == RunMode.MULTIRUN
