"""What a Trainer's fit gets, and what measures it instead; all that a watch needs of torch."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from hpml.callbacks import EpochTimer, RunRecorder
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.diagnosis.command import FILE_NAME
from hpml.diagnosis.experiment import diagnose
from hpml.diagnosis.page import write_page
from hpml.system import environment
from hpml.system.files import fresh_directory, write_whole
from hpml.trials.intervention import Prepared

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


def diagnose_fit(
    trainer: Any, module: Any, data: Any, *, budget_s: float, folder: Path, command: str, say: Say
) -> None:
    """Says what limits the training, and keeps it and its page. Raises UserError."""
    warn_aside()
    diagnosis = diagnose(trainer, module, data, budget_s, say)
    for line in diagnosis.lines:
        say(line)
    content = {
        "command": command,
        "environment": environment.describe(trainer.strategy.root_device.type),
        "diagnoses": {"": diagnosis.as_dict()},
        "comparison": [],
    }
    try:
        file = fresh_directory(folder) / FILE_NAME
        write_whole(file, json.dumps(content, indent=1) + "\n")
        say(f"kept: {file}")
        say(f"page: {write_page(content, file.parent)}")
    except OSError as error:
        say(f"warning: {folder}: not written ({error.strerror})")
