"""One point of a curve: a run or a sweep in fresh processes, and what it took."""

import logging
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import torch
from hydra import compose, initialize_config_dir

import hpml.train
from hpml.config.conf import find_conf
from hpml.data.build import build_data
from hpml.data.sampling import EpochSampler
from hpml.errors import RunFailedError
from hpml.records.phases import TIMES
from hpml.system.environment import peak_memory_mib

POLL_S = 0.05
HOST = torch.device("cpu")


class WorkerMemory(L.Callback):
    """Logs `workers_mib` of the last epoch: what the loaders' processes hold beside this one.

    Of each, what it shares with no other process, and by how much it once held more than now.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Asks the system, which takes milliseconds a worker: behind the last epoch's training."""
        held = 0.0
        if trainer.current_epoch + 1 == trainer.max_epochs:
            for worker in psutil.Process().children(recursive=True):
                known = worker.memory_full_info()
                held += known.uss / 2**20
                held += max(0.0, peak_mib(worker.pid) - known.rss / 2**20)
        pl_module.log("workers_mib", held)


def peak_mib(pid: int) -> float:
    """The most memory that a process has had so far; 0 where the system does not say."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def training(overrides: Sequence[str]) -> dict[str, float]:
    """What `hpml.train.train` took; called in a fresh process, which has imported torch."""
    logging.getLogger("hpml").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    imported_mib = peak_memory_mib(HOST)
    made_s = 0.0

    def timed_data(cfg: Any) -> L.LightningDataModule:
        nonlocal made_s
        started = time.perf_counter()
        data = build_data(cfg)
        made_s = time.perf_counter() - started
        return data

    hpml.train.build_data = timed_data
    with tempfile.TemporaryDirectory() as folder:
        with initialize_config_dir(str(find_conf()), version_base="1.3"):
            cfg = compose("train", overrides=[*overrides, f"run_dir={folder}/run"])
        record = hpml.train.train(cfg)
    host_mib = peak_memory_mib(HOST)
    started = time.perf_counter()
    iter(EpochSampler(cfg.data.train_samples, seed=0, shuffle=True))
    order_s = time.perf_counter() - started
    epochs = record.epochs[1:]  # the first pays for what happens only once
    times = {name: sum(epoch.time[name] or 0.0 for epoch in epochs) for name in TIMES}
    trained_s = times["epoch_s"] - times["validation_s"]
    samples = sum(epoch.samples or 0 for epoch in epochs)
    all_epochs_s = sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs)
    return {
        "samples_per_s": samples / trained_s,
        "sample_ms": 1000 * trained_s / samples,
        "step_ms": 1000 * trained_s / sum(epoch.steps for epoch in epochs),
        "waiting": times["data_s"] / trained_s,
        "training": times["train_s"] / trained_s,
        "startup_s": (record.wall_s or 0.0) - all_epochs_s - (record.finish_s or 0.0),
        "made_s": made_s,
        "order_s": order_s,
        "waiting_s": times["data_s"] / len(epochs),
        "imported_mib": imported_mib,
        "host_mib": host_mib + (record.epochs[-1].metrics["workers_mib"] or 0.0),
        "device_mib": record.epochs[-1].peak_memory_mib or 0.0,
    }


def program(overrides: Sequence[str]) -> dict[str, float]:
    """Seconds of `python -m hpml.train OVERRIDES`, and the most memory of its first process."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "out").open("w+") as out:
        command = [sys.executable, "-m", "hpml.train", *overrides, f"output_dir={folder}"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=out)
        memory_mib = 0.0
        while process.poll() is None:
            memory_mib = max(memory_mib, peak_mib(process.pid))
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            out.seek(0)
            raise RunFailedError(f"exit code {process.returncode}:\n{out.read().strip()}")
    return {"wall_s": seconds, "launcher_mib": memory_mib}
