"""`python -m hpml.tune [overrides]`: finds what makes a training faster."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpml.cli.program import run_hydra
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.cpu import set_waiting
from hpml.system import environment
from hpml.system.other_programs import warn_of_others
from hpml.system.signals import signals_held

if TYPE_CHECKING:
    from hpml.tuning.answer import Tuning

log = logging.getLogger("hpml")

FILE_NAME = "tune.json"


def main() -> None:
    run_hydra(job, config_name="tune", sweeps=False)


def job(cfg: DictConfig) -> "Tuning":
    """Tunes a job, says what to change, and keeps `tune.json`."""
    check(cfg)
    if environment.rank():
        log.setLevel(logging.ERROR)  # the first rank says it for all
    if not environment.is_one_of_several():  # which all begin now
        warn_of_others()
    set_waiting(cfg)
    with signals_held():
        from hpml.report.page import keep
        from hpml.training.build import end_processes
        from hpml.tuning import checks, earlier_rounds, page, tuner

    checks.check_budget(cfg.tune.budget_s, "tune.budget_s")
    with ExitStack() as stack:
        stack.callback(end_processes)
        own = stack.enter_context(closing(tuner.tuner_of(cfg, command_line.overrides(), log.info)))
        agreement = own.subject.agreement
        stack.push(agreement.part)
        machine = environment.describe(own.subject.device.type)
        if cfg.tune.resume is not None:
            file, job_now = command_line.as_typed(cfg.tune.resume), earlier_rounds.identity(cfg)
            rounds = agreement.of_first(lambda: earlier_rounds.read_rounds(file, job_now, machine))
            own.earlier = lambda: rounds
        tuning = own.run()
        log.info("\n".join(tuning.lines))
        content = {"command": command_line.typed()} | tuning.as_dict()
        if agreement.rank == 0:
            keep(content, Path(cfg.run_dir) / FILE_NAME, page.write_page, log.info)
    if words := tuning.snippet:
        log.info(f"use: {words[0]}")
    return tuning
