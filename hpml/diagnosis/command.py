"""`python -m hpml.diagnose [overrides]`: proves where the time of a training goes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hpml.cli.measuring import begin_measuring
from hpml.cli.program import run_hydra
from hpml.cli.wrong_input import composed
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.conf import resolve, spelled
from hpml.config.fingerprint import identifying, key_of
from hpml.errors import UserError
from hpml.system.signals import signals_held

if TYPE_CHECKING:
    from hpml.diagnosis.wording import Diagnosis

FILE_NAME = "diagnosis.json"


def main() -> None:
    run_hydra(job, config_name="diagnose", sweeps=False)


def job(cfg: DictConfig) -> "dict[str, Diagnosis]":
    """Diagnoses a job, and the one of `diagnose.against` beside it; keeps `diagnosis.json`.

    Returns the diagnoses by the settings in which the two differ; one alone has no name.
    """
    against = str(cfg.diagnose.against or "").split()
    own = command_line.overrides()
    jobs = {"": (cfg, own)}
    if against:
        key = f"diagnose.against={' '.join(against)}"
        other = composed("diagnose", [*own, *against], key)
        if _identity(other) == _identity(cfg):
            raise UserError(f"{key}: is so already")
        if cpu := [word for word in against if key_of(word).startswith("cpu.")]:
            raise UserError(f"{key}: {cpu[0]} holds for both jobs of one process; diagnose each")
        if _processes(other) != _processes(cfg):
            raise UserError(f"{key}: both jobs run in the same processes; diagnose each")
        both = (cfg, own), (other, [*own, *against])
        jobs = dict(zip((_setting(cfg, against), " ".join(against)), both, strict=True))
    for config, _ in jobs.values():
        check(config)
    begin_measuring(cfg)
    with signals_held():
        from hpml.diagnosis.run import run  # and torch
    return run(jobs, Path(cfg.run_dir) / FILE_NAME)


def _identity(cfg: DictConfig) -> dict[str, Any]:
    """What a job computes, and how: without the keys of this program."""
    return {key: value for key, value in identifying(resolve(cfg)).items() if "diagnose" not in key}


def _processes(cfg: DictConfig) -> tuple[Any, ...]:
    return cfg.trainer.devices, cfg.trainer.get("num_nodes"), cfg.trainer.get("strategy")


def _setting(cfg: DictConfig, against: list[str]) -> str:
    """What this job has where the other one has the overrides."""
    choices = HydraConfig.get().runtime.choices
    typed = dict(word.partition("=")[::2] for word in command_line.overrides())
    keys = list(map(key_of, against))
    values = (typed.get(key, choices.get(key, OmegaConf.select(cfg, key))) for key in keys)
    return " ".join(f"{key}={spelled(value)}" for key, value in zip(keys, values, strict=True))
