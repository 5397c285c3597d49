"""The door from the command to torch and Lightning: a configuration's job is tuned."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path

from omegaconf import DictConfig

from hpml.config import command_line
from hpml.report.page import keep
from hpml.system import environment
from hpml.training.build import end_processes
from hpml.tuning.answer import Tuning
from hpml.tuning.checks import check_budget
from hpml.tuning.earlier_rounds import identity, read_rounds
from hpml.tuning.page import write_page
from hpml.tuning.tuner import tuner_of

log = logging.getLogger("hpml")


def run(cfg: DictConfig, file: Path) -> Tuning:
    """Tunes the job, says what to change, and keeps that. Raises UserError."""
    check_budget(cfg.tune.budget_s, "tune.budget_s")
    with ExitStack() as stack:
        stack.callback(end_processes)
        own = stack.enter_context(closing(tuner_of(cfg, command_line.overrides(), log.info)))
        agreement = own.subject.agreement
        stack.push(agreement.part)
        machine = environment.describe(own.subject.device.type)
        if cfg.tune.resume is not None:
            resumed, job_now = command_line.as_typed(cfg.tune.resume), identity(cfg)
            rounds = agreement.of_first(lambda: read_rounds(resumed, job_now, machine))
            own.earlier = lambda: rounds
        tuning = own.run()
        log.info("\n".join(tuning.lines))
        content = {"command": command_line.typed()} | tuning.as_dict()
        if agreement.rank == 0:
            keep(content, file, write_page, log.info)
    if words := tuning.snippet:
        log.info(f"use: {words[0]}")
    return tuning
