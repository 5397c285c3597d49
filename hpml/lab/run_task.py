"""Runs one command of the lab to its end."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hpml.cli.program import users_environment
from hpml.errors import UserError
from hpml.lab.tasks import Task
from hpml.sweep.process import JobProcess
from hpml.system.files import write_whole
from hpml.system.signals import JOB


def run_task(task: Task, folder: Path) -> bool:
    """Runs a command in a session of its own, which ends with this process; whether it completed.

    Raises UserError where the command found its input wrong, and RunInterrupted after a signal,
    when it has ended.
    """
    directory = folder / "logs" / task.key
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *task.words]
    if task.is_printed and task.result is not None:
        return _print_to(task.result, command, directory)
    process = JobProcess(command, directory, shown=True, environment=users_environment())
    try:
        exit_code = process.wait()
    finally:
        process.clear()
    if exit_code == 2:
        raise UserError(f"{', '.join(task.parts)} could not begin: {process.last_line}")
    return exit_code == 0


def _print_to(file: Path, command: Sequence[str], directory: Path) -> bool:
    """Runs a short command, whose standard output a file keeps; whether it completed."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # which closes with this process, and ends the other
        stdout=subprocess.PIPE,
        env=os.environ | users_environment() | {JOB: str(directory.resolve())},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            printed = process.stdout.read()
            process.wait()
        finally:
            process.kill()  # where that was interrupted
    if process.returncode == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, printed.decode())
    return process.returncode == 0
