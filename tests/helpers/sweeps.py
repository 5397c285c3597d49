"""Starts sweeps of the light program, and looks at what they leave."""

import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from helpers.programs import Program, run_program
from helpers.records import make_run
from hpml.records.run_record import RunRecord
from hpml.sweep.cost_model import cost_key
from hpml.sweep.jobs import Job
from hpml.system.interference import Interference
from hpml.system.signals import JOB

PROGRAM = str(Path(__file__).with_name("light_program.py"))
QUICK = ["data=synthetic", "model=small", "device=cpu", "trainer.max_epochs=2", "sweep.name=s"]
SWEEP = Path("outputs") / "sweeps" / "s"


def make_job(
    config: dict[str, Any], epochs: int = 3, setting: tuple[str, ...] = (), **changes: Any
) -> Job:
    """A job that nobody runs, with the cost key of its configuration."""
    key = cost_key(config)
    job = Job(0, "a", (), setting, Path(), "", "", key, "cpu", 1, epochs, "val/accuracy")
    return replace(job, **changes)


def make_disturbed_run(folder: Path, name: str, lost_s: float | None, **changes: Any) -> RunRecord:
    """A run of one epoch of 10 s, of which others took so much; None where nobody looked."""
    record = make_run(folder, name, epochs=1, **changes)
    if lost_s is not None:
        seen = Interference(wall_s=10.0, lost_s={"others": lost_s})
        record.epochs[0].interference = seen.as_dict()
    record.write(folder / name)
    return record


def start(folder: Path, *overrides: str, **variables: str) -> Program:
    return Program([PROGRAM, "-m", *QUICK, *overrides], folder, variables)


def sweep(
    folder: Path, *overrides: str, exit_code: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a sweep to its end, as `run_program` does."""
    return run_program([PROGRAM, "-m", *QUICK, *overrides], folder, exit_code, **variables)


def records(folder: Path) -> dict[str, RunRecord]:
    """The records of the sweep, by the name of their job's folder."""
    files = sorted((folder / SWEEP).glob("*/record.json"))
    return {file.parent.name: RunRecord.read(file) for file in files}


def statuses(folder: Path) -> dict[str, str]:
    """What became of the sweep's jobs, by the name of their folder."""
    return {name: record.status for name, record in records(folder).items()}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file below a folder was changed, and what it holds."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def processes_of(folder: Path) -> list[str]:
    """The processes of jobs below a folder."""
    commands = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(JOB, "").startswith(str(folder.resolve())):
                commands.append(" ".join(process.cmdline()))
    return commands


def is_gone(folder: Path) -> bool:
    """Whether no process of a job is left, at once or five seconds later."""
    until = time.monotonic() + 5
    while (left := processes_of(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    return not left
