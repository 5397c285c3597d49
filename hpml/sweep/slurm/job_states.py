"""What SLURM says of a sweep's jobs, in its queue and after it, asked until it answers.

What goes back into the queue: a run by `hpml/system/slurm_requeue.py`, a sweep's job by
`hpml/sweep/slurm/runner.py`.
"""

import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hpml.errors import RunFailedError

log = logging.getLogger("hpml")

POLL_S = 5.0
PATIENCE_S = 1800.0  # with a controller that restarts, say
# Reasons of squeue's for a job that waits, or does not, as it should.
ORDINARY = ("None", "Resources", "Priority", "BeginTime", "JobArrayTaskLimit", "Cleaning")


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
