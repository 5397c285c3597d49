"""`python -m hpml.tune [overrides]`: finds what makes a training faster."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpml.cli.measuring import begin_measuring
from hpml.cli.program import run_hydra
from hpml.config.checks import check
from hpml.system.signals import signals_held

if TYPE_CHECKING:
    from hpml.tuning.answer import Tuning

FILE_NAME = "tune.json"


def main() -> None:
    run_hydra(job, config_name="tune", sweeps=False)


def job(cfg: DictConfig) -> "Tuning":
    """Tunes a job, says what to change, and keeps `tune.json`."""
    check(cfg)
    begin_measuring(cfg)
    with signals_held():
        from hpml.tuning.run import run  # and torch
    return run(cfg, Path(cfg.run_dir) / FILE_NAME)
