"""SLURM's queue: what a sweep may submit to it, how it does, and what it asks.

What goes back into it: a run by `hpml/system/slurm.py`, a sweep's job by `runner.py`.
"""

import logging
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hpml.errors import RunFailedError, UserError, first_line

log = logging.getLogger("hpml")

POLL_S = 5.0
PATIENCE_S = 1800.0  # with a controller that restarts, say
# Reasons of squeue's for a job that waits, or does not, as it should.
ORDINARY = ("None", "Resources", "Priority", "BeginTime", "JobArrayTaskLimit", "Cleaning")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises UserError for parameters of hydra-submitit-launcher that a sweep cannot have."""
    for key in ("nodes", "tasks_per_node"):
        if parameters[key] != 1:
            raise UserError(
                f"hydra.launcher.{key}={parameters[key]}: a job of a sweep is one task, which "
                "starts the processes of trainer.devices itself"
            )
    leasts = {"timeout_min": 1, "array_parallelism": 1, "max_num_timeout": 0, "signal_delay_s": 1}
    for key, least in leasts.items():
        value, most_s = parameters[key], 60 * parameters["timeout_min"] - 1
        if value < least or (key == "signal_delay_s" and value > most_s):
            end = f" and at most {most_s}, the job's time" if key == "signal_delay_s" else ""
            raise UserError(f"hydra.launcher.{key}={value}: must be at least {least}{end}")


def submitting(parameters: Mapping[str, Any]) -> Callable[[Sequence[Any]], list[str]]:
    """A function that submits calls as one array, by the parameters of hydra-submitit-launcher.

    Raises UserError where the extra is missing, and what submitit or sbatch says of them.
    """
    try:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    except ImportError as error:
        raise UserError("hydra/launcher=slurm: pip install 'hpml[slurm]'") from error
    general = BaseQueueConf.__dataclass_fields__.keys()
    settings = {
        key if key in general else f"slurm_{key}": value
        for key, value in parameters.items()
        if value is not None and key not in ("submitit_folder", "max_num_timeout")
    }
    folder, timeouts = parameters["submitit_folder"], parameters["max_num_timeout"]
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        executor.update_parameters(**settings)
    except (RuntimeError, ValueError, NameError) as error:
        raise UserError(f"hydra/launcher=slurm: {error}") from error

    def submit(calls: Sequence[Any]) -> list[str]:
        try:
            with executor.batch():
                jobs = [executor.submit(call) for call in calls]
        except submitit.core.utils.FailedJobError as error:  # sbatch said no
            message = first_line(error).removeprefix("sbatch: error: ")
            raise UserError(f"hydra.launcher: {message}") from error
        return [job.job_id for job in jobs]

    return submit


def queued(numbers: Mapping[str, Any], insists: bool = True) -> dict[str, str]:
    """The state of those jobs that are in SLURM's queue, by their numbers.

    With `insists` SLURM is asked until it answers. Raises RunFailedError where it has not for
    PATIENCE_S: the jobs stay with it.
    """
    if not numbers:
        return {}
    joined = ",".join({number.partition("_")[0] for number in numbers})
    command = ["squeue", "--noheader", "--array", "--format=%i %T %r", f"--jobs={joined}"]
    begun_s = None
    while (answer := answer_of(command)) is None:
        if not insists:
            return {}
        if begun_s is None:
            begun_s = time.monotonic()
            log.warning(f"squeue does not answer; asked again every {POLL_S:g} s")
        if time.monotonic() - begun_s > PATIENCE_S:
            silent = f"squeue has not answered for {PATIENCE_S / 60:g} minutes"
            jobs = f"SLURM's jobs {arrays(numbers)} go on; the same command waits for them again"
            raise RunFailedError(f"{silent}; {jobs}")
        time.sleep(POLL_S)
    states = {}
    for line in answer.splitlines():
        number, word, reason = line.split(maxsplit=2)
        # with the reason where that needs somebody's help
        states[number] = word.lower() + ("" if reason in ORDINARY else f" ({reason})")
    return {number: states[number] for number in numbers if number in states}


def state(number: str) -> str:
    """What SLURM says of a job that has left the queue."""
    answer = answer_of(["scontrol", "--oneliner", "show", "job", number]) or ""
    fields = dict(word.partition("=")[::2] for word in answer.split())
    return fields.get("JobState", "no longer known").lower()


def answer_of(command: Sequence[str]) -> str | None:
    """What a command of SLURM's prints: nothing about jobs that have left; None where it fails."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if not done.returncode or "Invalid job id" in done.stderr:
            return done.stdout
    return None


def arrays(numbers: Sequence[str] | Mapping[str, Any]) -> str:
    return " ".join(dict.fromkeys(number.partition("_")[0] for number in numbers))
