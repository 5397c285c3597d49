"""`python -m hpml.diagnose [overrides]`: proves where the time of a training goes."""

from __future__ import annotations

import json
import logging
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from hpml.cli.program import run_hydra
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.config.fingerprint import identifying, key_of
from hpml.errors import UserError, first_line
from hpml.system import environment
from hpml.system.files import write_whole
from hpml.system.signals import signals_held

if TYPE_CHECKING:
    from hpml.diagnosis.trials import Trials

log = logging.getLogger("hpml")

FILE_NAME = "diagnosis.json"


def main() -> None:
    """The program `python -m hpml.diagnose`."""
    run_hydra(job, config_name="diagnose", sweeps=False)


def job(cfg: DictConfig) -> None:
    """Diagnoses a job, and the one of `diagnose.against` beside it; keeps `diagnosis.json`."""
    against = str(cfg.diagnose.against or "").split()
    configs = {"": cfg}
    if against:
        other = _compose(against)
        if _identity(other) == _identity(cfg):
            raise UserError(f"diagnose.against={' '.join(against)}: is so already")
        configs = {_setting(cfg, against): cfg, " ".join(against): other}
    for one in configs.values():
        check(one)
    if busy := environment.warning_of_others():
        log.warning(busy)
    with signals_held():
        from hpml.diagnosis.comparison import compare
        from hpml.diagnosis.trials import run

    with ExitStack() as stack:
        mine = command_line.overrides()
        jobs = {
            name: _trials(one, mine if one is cfg else [*mine, *against], stack)
            for name, one in configs.items()
        }
        found = dict(zip(jobs, run(list(jobs.values())), strict=True))
        for name, diagnosis in found.items():
            log.info("\n".join([*([f"\n{name}"] if name else []), *diagnosis.lines]))
        sentences: list[str] = []
        if against:
            (a, first), (b, second) = found.items()
            sentences = compare(first, second, (a, b))
            log.info("\n".join(["", *sentences]))
        subject = next(iter(jobs.values())).subject
        _keep(
            Path(cfg.run_dir),
            {
                "command": command_line.typed(),
                "environment": environment.describe(subject.device.type),
                "diagnoses": {name: diagnosis.as_dict() for name, diagnosis in found.items()},
                "comparison": sentences,
            },
        )
        if cfg.trainer.profiler:
            for file in subject.profile(cfg.trainer.profiler, Path(cfg.run_dir).resolve()):
                log.info(f"{cfg.trainer.profiler} profile: {file}")


def _trials(cfg: DictConfig, overrides: list[str], stack: ExitStack) -> Trials:
    """A job's trials, which the stack clears up after."""
    from hpml.config.auto import on_device
    from hpml.training.job_facts import facts_of_config
    from hpml.trials.configured import subject_of

    cfg, _ = on_device(cfg)
    subject = subject_of(cfg)
    stack.callback(subject.close)
    from hpml.diagnosis.trials import Trials

    return Trials(subject, facts_of_config(cfg, overrides), cfg.diagnose.budget_s, log.info)


def _compose(against: list[str]) -> DictConfig:
    """The other job: this one's command line with some overrides more."""
    import hydra
    from hydra.errors import HydraException

    try:
        return hydra.compose("diagnose", [*command_line.overrides(), *against])
    except HydraException as error:
        raise UserError(f"diagnose.against={' '.join(against)}: {first_line(error)}") from error


def _identity(cfg: DictConfig) -> dict[str, Any]:
    """What a job computes, and how: without the keys of this program."""
    return {key: value for key, value in identifying(resolve(cfg)).items() if "diagnose" not in key}


def _setting(cfg: DictConfig, against: list[str]) -> str:
    """What this job has where the other one has the overrides."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    choices, told = HydraConfig.get().runtime.choices, []
    typed = dict(word.partition("=")[::2] for word in command_line.overrides())
    for key in map(key_of, against):
        value = choices[key] if key in choices else OmegaConf.select(cfg, key)
        value = typed.get(key, value)
        told.append(f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}")
    return " ".join(told)


def _keep(directory: Path, found: dict[str, Any]) -> None:
    file = directory / FILE_NAME
    try:
        write_whole(file, json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from error
    log.info(f"kept: {shlex.quote(str(file))}")
