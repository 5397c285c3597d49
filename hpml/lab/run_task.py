"""Runs one command of the lab to its end."""

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hpml.cli.program import users_environment
from hpml.cli.wrong_input import composed
from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.config.lab_advice import LAB
from hpml.errors import RunFailedError, UserError
from hpml.lab.tasks import Task
from hpml.sweep.job_process import JobProcess
from hpml.system import exit_codes, fresh_process
from hpml.system.files import write_json

log = logging.getLogger("hpml")


def run_task(task: Task, folder: Path) -> bool:
    """Runs a command in a session of its own, which ends with this process; whether it completed.

    Raises UserError where the command found its input wrong, and RunInterrupted after a signal,
    when it has ended.
    """
    if task.counted:
        return _count(task)
    directory = folder / "logs" / task.key
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *task.words]
    environment = {**users_environment(), LAB: "1"}
    process = JobProcess(command, directory, shown=True, environment=environment)
    try:
        exit_code = process.wait()
    finally:
        process.clear()
    if exit_code == exit_codes.WRONG_INPUT:
        raise UserError(f"{_cannot_begin(task)}: {process.last_line}")
    return exit_code == exit_codes.COMPLETED


def _count(task: Task) -> bool:
    """What its command would print, by a process that has imported torch already."""
    assert task.result is not None
    try:
        cfg = composed("summary", task.counted, task.counted[-1])
        check(cfg)
        facts = fresh_process.run_in_fresh_process(counts_of, resolve(cfg))
    except UserError as error:
        raise UserError(f"{_cannot_begin(task)}: {error}") from error
    except RunFailedError as error:
        log.error(str(error))  # noqa: TRY400 - which has its traceback
        return False
    task.result.parent.mkdir(parents=True, exist_ok=True)
    write_json(task.result, facts)
    return True


def counts_of(config: dict[str, Any]) -> dict[str, Any]:
    """To be called in a fresh process."""
    from hpml.summary.summarize import summarize  # and torch

    return summarize(DictConfig(config))


def _cannot_begin(task: Task) -> str:
    return f"{', '.join(task.parts)} could not begin"
