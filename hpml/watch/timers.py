"""What a Trainer's fit gets, and what measures it instead; all that a watch needs of torch."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from hpml.callbacks import EpochTimer, RunRecorder
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.diagnosis.command import FILE_NAME
from hpml.diagnosis.experiment import diagnose
from hpml.diagnosis.page import write_page
from hpml.diagnosis.wording import Diagnosis
from hpml.errors import UserError
from hpml.report.page import keep
from hpml.system import environment
from hpml.system.files import fresh_directory
from hpml.training.build import end_processes
from hpml.trials.intervention import Prepared
from hpml.tuning.answer import Tuning
from hpml.tuning.command import FILE_NAME as TUNED
from hpml.tuning.page import write_page as write_tuning
from hpml.tuning.tuner import tune

Say = Callable[[str], None]


def timers_for(trainer: Any, record: Path, say: Say) -> list[L.Callback]:
    """The callbacks for one fit; none where the Trainer has timers, or is a trial's."""
    if any(isinstance(callback, PhaseTimer | Prepared) for callback in trainer.callbacks):
        return []
    warn_aside()
    timer = EpochTimer(say=say, to_loggers=False)
    return [timer, RunRecorder(record, timer, say=say)]


def warn_aside() -> None:
    """Our warnings go to stderr, wherever the program sends what it logs."""
    log = logging.getLogger("hpml")
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.__stderr__))
        log.propagate = False


def measure_fit(
    measure: str,
    trainer: Any,
    module: Any,
    data: Any,
    *,
    budget_s: float,
    folder: Path,
    command: str,
    say: Say,
    validation: Any = None,
    also: Sequence[str] = (),
    resume: str | None = None,
) -> None:
    """Says what limits the training, or what makes it faster; keeps that and its page.

    Several ranks call this together. Raises UserError.
    """
    warn_aside()
    found: Diagnosis | Tuning
    try:
        if measure == "tune":
            found = tune(trainer, module, data, budget_s, also, say, validation, resume)
            name, write, content = TUNED, write_tuning, found.as_dict()
        else:
            found = diagnose(trainer, module, data, budget_s, say)
            name, write = FILE_NAME, write_page
            content = {"diagnoses": {"": found.as_dict()}, "comparison": []}
    finally:
        end_processes()
    if environment.rank() != 0:
        return  # all ranks have found the same
    for line in found.lines:
        say(line)
    machine = environment.describe(trainer.strategy.root_device.type)
    content = {"command": command, "environment": machine} | content
    try:
        keep(content, fresh_directory(folder) / name, write, say)
    except UserError as error:
        say(f"warning: {error}")
    except OSError as error:
        say(f"warning: {folder}: not written ({error.strerror})")
