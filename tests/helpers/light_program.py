"""hpml.train with runs that sleep instead of training, or die as `+fault` says.

Records, signals, exit codes and all that a sweep does are the real ones, but for the pictures of
its report, which take their time and are looked at elsewhere.
"""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra._internal.hydra import Hydra
from omegaconf import DictConfig

import hpml.train
from hpml.cli.program import run_hydra
from hpml.errors import RunFailedError
from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord, RunRecord
from hpml.system.environment import JOBS_AT_ONCE
from hpml.system.interference import Interference
from hpml.system.signals import JOB

sys.path.append(str(Path(__file__).parents[1]))  # of a program that is started by its path
from helpers.left_out import leave_out
from helpers.remembered import remember_configurations


def fit(cfg: DictConfig, record: RunRecord, directory: Path, *_: Any) -> None:
    """Epochs of `+nap` seconds, none before the file `+after` is there; faults follow the first."""
    record.environment = {"host": "here", "jobs_at_once": int(os.environ.get(JOBS_AT_ONCE, "1"))}
    while not Path(cfg.get("after", "/")).exists():
        time.sleep(0.02)
    for number in range(cfg.trainer.max_epochs):
        time.sleep(cfg.get("nap", 0.0))
        times = dict.fromkeys(TIMES, 0.0) | {"epoch_s": 1.0 + cfg.seed / 100, "train_s": 1.0}
        metrics = {"val/accuracy": 0.5 + number / 100}
        record.epochs.append(EpochRecord(number, 1, 1, dict(times), 1.0, dict(metrics)))
        record.epochs[-1].interference = disturbed(cfg, directory)
        record.write(directory)
        print(f"epoch {number} of {directory.name}", flush=True)
        if number == 0:
            FAULTS[cfg.get("planted", cfg).get("fault", "none")]()


def disturbed(cfg: DictConfig, directory: Path) -> dict[str, Any] | None:
    """What others took of an epoch of 10 s: of `+lost_s` the value for this run of the job."""
    if "lost_s" not in cfg:
        return None
    runs = Path(f"{directory.name}.runs")  # a line for each
    if os.getpid() not in map(int, runs.read_text().split() if runs.exists() else ()):
        with runs.open("a") as file:
            file.write(f"{os.getpid()}\n")
    run = len(runs.read_text().split()) - 1
    lost_s = cfg.lost_s[min(run, len(cfg.lost_s) - 1)]
    return Interference(wall_s=10.0, lost_s={"others": float(lost_s)}).as_dict()


def broken() -> None:
    raise ValueError("it broke\nbadly")


def diverge() -> None:
    raise RunFailedError("train/loss is not finite in epoch 0, step 3")


def hang() -> None:
    """Deaf to whoever asks it to end in order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    print("deaf", flush=True)
    while True:
        time.sleep(1000)


def leave_a_process() -> None:
    """In a session of its own, as a daemon has."""
    subprocess.Popen(["sleep", "54321"], start_new_session=True)


def babble() -> None:
    """A line of 20 MB, a bar drawn over a thousand times, and an error."""
    print("x" * 20_000_000)
    for number in range(1000):
        print(f"bar {number}" * 100, end="\r")
    raise ValueError("it broke")


FAULTS: dict[str, Any] = {
    "none": lambda: None,
    "exception": broken,
    "diverge": diverge,
    "interrupt": lambda: signal.raise_signal(signal.SIGTERM),
    "exit": lambda: sys.exit(3),
    "exit_0": lambda: os._exit(0),
    "kill": lambda: signal.raise_signal(signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "memory": lambda: bytearray(2**60),
    "hang": hang,
    "daemon": leave_a_process,
    "late": lambda: atexit.register(lambda: os._exit(7)),
    "babble": babble,
}


def job(cfg: DictConfig) -> float | None:
    return hpml.train.job(cfg, fit)


sys.modules["hpml.report.pictures"] = SimpleNamespace(draw=lambda _: (), Picture=object)  # type: ignore
sys.modules["hpml.report.scaling_picture"] = SimpleNamespace(draw_scaling=lambda _: None)  # type: ignore
sys.modules["hpml.report.run.pictures"] = SimpleNamespace(draw_run=lambda _: ())  # type: ignore

remember_configurations()
leave_out()
if JOB in os.environ:  # it is one run: nothing need be composed to find out
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]

if __name__ == "__main__":
    run_hydra(job, config_name="train")
