"""Every key, a set of absurd values each: the answer is one clear line, never a traceback."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers.configurations import TINY, Compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpml.config.conf import dotted_keys
from hpml.errors import RunFailedError, UserError
from hpml.train import train

pytestmark = pytest.mark.stress

VALUES = ("-1", "0", "1", "1.5", "1e300", "abc", "null", "true", "[]", "[1,2]", "{}", "{a:1}", "''")
ONE_STEP = (*TINY, "trainer.max_steps=1", "logger=none", "data.train_samples=32")
# Where files go is the user's to say: an odd name makes an odd folder.
LEFT_OUT = ("run_dir", "output_dir", "sweep", "trainer.default_root_dir")


def leaves(cfg: DictConfig) -> list[str]:
    keys = [key for key in dotted_keys(cfg) if not key.startswith(LEFT_OUT)]
    return [key for key in keys if not OmegaConf.is_config(OmegaConf.select(cfg, key))]


def test_absurd_values_are_answered_politely(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of one step either works or raises what is told in one line."""
    monkeypatch.chdir(tmp_path)
    impolite, outcomes = [], Counter[str]()
    for key in leaves(compose(*ONE_STEP)):
        for value in VALUES:
            given = f"{key}={value}"
            try:
                train(compose(*ONE_STEP, given))
                outcomes["trained"] += 1
            except (UserError, HydraException, OmegaConfBaseException) as error:
                outcomes["refused"] += 1
                if "\n\n" in str(error) and isinstance(error, UserError):
                    impolite.append(f"{given}: {error}")
            except RunFailedError:
                outcomes["failed"] += 1
            except Exception as error:
                impolite.append(f"{given}: {type(error).__name__}: {str(error)[:150]}")
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
    print(outcomes)
    assert not impolite, "\n" + "\n".join(impolite)
    assert outcomes["refused"] > 100
