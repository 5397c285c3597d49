"""`python -m hpml.diagnose [overrides]`: proves where the time of a training goes."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hpml.cli.program import run_hydra
from hpml.cli.wrong_input import composed
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.conf import resolve, spelled
from hpml.config.cpu import set_waiting
from hpml.config.fingerprint import identifying, key_of
from hpml.errors import UserError
from hpml.system import environment
from hpml.system.other_programs import warn_of_others
from hpml.system.signals import signals_held

if TYPE_CHECKING:
    from hpml.diagnosis.wording import Diagnosis

log = logging.getLogger("hpml")

FILE_NAME = "diagnosis.json"


def main() -> None:
    run_hydra(job, config_name="diagnose", sweeps=False)


def job(cfg: DictConfig) -> "dict[str, Diagnosis]":
    """Diagnoses a job, and the one of `diagnose.against` beside it; keeps `diagnosis.json`.

    Returns the diagnoses by the settings in which the two differ; one alone has no name.
    """
    against = str(cfg.diagnose.against or "").split()
    own, configs = command_line.overrides(), {"": cfg}
    if against:
        key = f"diagnose.against={' '.join(against)}"
        other = composed("diagnose", [*own, *against], key)
        if _identity(other) == _identity(cfg):
            raise UserError(f"{key}: is so already")
        if cpu := [word for word in against if key_of(word).startswith("cpu.")]:
            raise UserError(f"{key}: {cpu[0]} holds for both jobs of one process; diagnose each")
        if _processes(other) != _processes(cfg):
            raise UserError(f"{key}: both jobs run in the same processes; diagnose each")
        configs = {_setting(cfg, against): cfg, " ".join(against): other}
    for config in configs.values():
        check(config)
    if environment.rank():
        log.setLevel(logging.ERROR)  # the first rank says it for all
    if not environment.is_one_of_several():  # which all begin now
        warn_of_others()
    set_waiting(cfg)
    with signals_held():
        from hpml.diagnosis import experiment, page, wording
        from hpml.report.page import keep
        from hpml.training.build import end_processes
        from hpml.trials import profile

    with ExitStack() as stack:
        stack.callback(end_processes)
        experiments = {}
        for name, config in configs.items():
            overrides = own if config is cfg else [*own, *against]
            experiments[name] = experiment.experiment_of(config, overrides, log.info)
            stack.enter_context(experiments[name].subject.agreement)
            stack.callback(experiments[name].subject.close)
        subject = next(iter(experiments.values())).subject
        if environment.is_one_of_several() and subject.agreement.rank == 0:  # all have begun
            warn_of_others(subject.witness)
        diagnoses = dict(zip(experiments, experiment.run(list(experiments.values())), strict=True))
        for name, diagnosis in diagnoses.items():
            log.info("\n".join([*([f"\n{name}"] if name else []), *diagnosis.lines]))
        sentences: list[str] = []
        if against:
            (a, first), (b, second) = diagnoses.items()
            sentences = wording.compare(first, second, (a, b))
            log.info("\n".join(["", *sentences]))
        content = {
            "command": command_line.typed(),
            "environment": environment.describe(subject.device.type),
            "diagnoses": {name: diagnosis.as_dict() for name, diagnosis in diagnoses.items()},
            "comparison": sentences,
        }
        if subject.agreement.rank == 0:
            keep(content, Path(cfg.run_dir) / FILE_NAME, page.write_page, log.info)
        if cfg.trainer.profiler:
            folder = Path(cfg.run_dir).resolve()
            for file in profile.profile(subject, cfg.trainer.profiler, folder):
                log.info(f"{cfg.trainer.profiler} profile: {file}")
        return diagnoses


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
