"""Puts a SLURM job that was warned of its end back into the queue."""

import logging
import os
import subprocess

from hpml.system.environment import rank
from hpml.system.signals import JOB

log = logging.getLogger("hpml")

JOB_ID = "SLURM_JOB_ID"
REQUEUE_S = 60


def requeue() -> None:
    """Puts this job back into SLURM's queue, where the job is ours to put back.

    A sweep's job is its launcher's; a job that submitit has started is submitit's.
    """
    if JOB_ID not in os.environ or {JOB, "SUBMITIT_EXECUTOR"} & os.environ.keys() or rank():
        return
    number = os.environ[JOB_ID]
    command = ["scontrol", "requeue", number]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=REQUEUE_S)
    except FileNotFoundError:  # in a container, mostly
        why = "scontrol is not here; the exit code tells the batch script"
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip()
    except subprocess.TimeoutExpired:
        why = f"scontrol took longer than {REQUEUE_S} s"
    else:
        log.info(f"job {number} is back in the queue")
        return
    log.error(f"not requeued: {why}")
