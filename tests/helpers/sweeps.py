"""Starts sweeps of the light program, and looks at what they leave."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from hpml.records.run_record import RunRecord
from hpml.sweep.cost_model import cost_key
from hpml.sweep.jobs import Job
from hpml.system.signals import JOB

PROGRAM = [sys.executable, str(Path(__file__).with_name("light_program.py"))]
QUICK = ["data=synthetic", "model=small", "device=cpu", "trainer.max_epochs=2", "sweep.name=s"]


def make_job(
    config: dict[str, Any], epochs: int = 3, setting: tuple[str, ...] = (), **changes: Any
) -> Job:
    """A job that nobody runs, with the cost key of its configuration."""
    job = Job(
        number=0,
        name="a",
        overrides=(),
        setting=setting,
        directory=Path(),
        fingerprint="",
        code_fingerprint="",
        cost_key=cost_key(config),
        device="cpu",
        processes=1,
        epochs=epochs,
        monitor="val/accuracy",
    )
    return replace(job, **changes)


def start(folder: Path, *overrides: str, **settings: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "-m", *QUICK, *overrides],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    process = start(folder, *overrides)
    stdout, stderr = process.communicate(timeout=280)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def records(folder: Path) -> dict[str, RunRecord]:
    """The records of the sweep, by the name of their job's folder."""
    return {
        file.parent.name: RunRecord.read(file)
        for file in sorted((folder / "outputs" / "sweeps" / "s").glob("*/record.json"))
    }


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file below a folder was changed, and what it holds."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def processes_of(folder: Path) -> list[str]:
    """The processes of jobs below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(JOB, "").startswith(str(folder.resolve())):
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    for _ in range(2000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def is_gone(folder: Path) -> bool:
    """Whether no process of a job is left, at once or a moment later."""
    for _ in range(100):
        if not processes_of(folder):
            return True
        time.sleep(0.05)
    return False


def environment(**variables: str) -> dict[str, str]:
    return os.environ | variables
