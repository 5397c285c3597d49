"""How time and memory grow: with batch size, data set, image size, workers and sweep size.

    python benchmarks/growth.py [--device cpu|gpu] [--model small]

Each value of the five curves is a run of `hpml.train.train`, or a sweep, in a fresh process, so
that its peak memory is its own. Runs train on generated images, in batches of 128 where they do not
vary, without checkpoints, loggers and progress bar; in interleaved rounds, the sweeps once: median
(lowest to highest).

Samples/s and a step's time are of the epochs after the first, from the end of one to the end of the
next: shuffling, loading, transfer, training and Lightning's loop; no validation. Start-up is what
is before the first batch, without imports: making the data set, most of all. Waiting is the part of
the time in which a step waits for its batch. Memory is the peak of the process with its imports,
and what its workers hold beside it; `device_mib` on a GPU what torch has allocated. `made_s` is
what it takes to make the data, `order_s` an epoch's order; `launcher_mib` is of a program's first
process, which in a sweep has no torch.
The runs over workers decode JPEG images and have a validation of one batch, for the workers of its
loader; its time is left out. A sweep's time is that of the whole program.
"""

import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import psutil
import torch
from harness import Page, Rows, be_quiet, configured, interleaved, main, spread

import hpml.train
from hpml.data.build import build_data
from hpml.data.sampling import EpochSampler
from hpml.errors import RunFailedError, UserError
from hpml.records.phases import TIMES
from hpml.system.environment import peak_memory_mib
from hpml.system.fresh_process import run_in_fresh_process

BATCH_SIZE = 128
BATCHES = 8  # of an epoch where its length does not matter
# Of the epochs on a CPU, and on a GPU: a second or so each.
EPOCH_SAMPLES = {"cpu": 4096, "gpu": 32_768}
POLL_S = 0.05
HOST = torch.device("cpu")
# The smallest job: what is left is what each job takes to start.
TINY = [
    *("data=synthetic", "model=small", "model.width=1", "device=cpu", "data.batch_size=8"),
    *("data.image_size=8", "data.train_samples=8", "data.test_samples=8", "callbacks=none"),
    *("logger=none", "trainer.max_epochs=1", "trainer.enable_checkpointing=false"),
    *("trainer.limit_val_batches=0", "monitor=train/loss"),
]
Curves = dict[str, dict[int, list[str]]]  # the overrides by curve and by what varies
Seen = dict[str, dict[int, dict[str, Any]]]  # the figures of each
# Of which the page says how they grow.
GROWING = ("sample_ms", "made_s", "order_s", "host_mib", "device_mib", "wall_s", "launcher_mib")


class WorkerMemory(L.Callback):
    """Logs `workers_mib` of the last epoch: what the loaders' processes hold beside this one.

    Of each, what it shares with no other process, and by how much it once held more than now.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Asks the system, which takes milliseconds a worker: behind the last epoch's training."""
        held = 0.0
        if trainer.current_epoch + 1 == trainer.max_epochs:
            for worker in psutil.Process().children(recursive=True):
                memory = worker.memory_full_info()
                held += memory.uss / 2**20
                held += max(0.0, peak_mib(worker.pid) - memory.rss / 2**20)
        pl_module.log("workers_mib", held)


def peak_mib(pid: int) -> float:
    """The most memory that a process has had so far; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        status = ""
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(peak[1]) / 1024 if peak else 0.0


def training(overrides: list[str]) -> dict[str, float]:
    """What `hpml.train.train` took; called in a fresh process, which has imported torch."""
    be_quiet()
    cfg = configured(*overrides)
    record = hpml.train.train(cfg)
    host_mib = peak_memory_mib(HOST)
    started = time.perf_counter()
    iter(EpochSampler(cfg.data.train_samples, seed=0, shuffle=True))
    ordered = time.perf_counter()
    build_data(cfg)  # once more: what was made for the training is in the start-up
    made_s = time.perf_counter() - ordered
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
        "startup_s": (record.wall_s or 0.0) - all_epochs_s - (record.finish_s or 0.0),
        "made_s": made_s,
        "order_s": ordered - started,
        "host_mib": host_mib + (record.epochs[-1].metrics["workers_mib"] or 0.0),
        "device_mib": record.epochs[-1].peak_memory_mib or 0.0,
    }


def program(overrides: list[str]) -> dict[str, float]:
    """Seconds of `python -m hpml.train OVERRIDES`, and the most memory of its first process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hpml.train", *overrides, f"output_dir={folder}"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        memory_mib = 0.0
        while process.poll() is None:
            memory_mib = max(memory_mib, peak_mib(process.pid))
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
    if process.returncode:
        raise RunFailedError(f"exit code {process.returncode}")
    return {"wall_s": seconds, "launcher_mib": memory_mib}


def runs(device: str, model: str, quick: bool) -> Curves:
    """All that is measured by training."""
    base = [
        *("data=synthetic", f"device={device}", f"model={model}", "data.test_samples=64"),
        *("callbacks=none", "logger=none", "trainer.enable_checkpointing=false"),
        *("trainer.limit_val_batches=0", "monitor=train/accuracy", "trainer.max_epochs=2"),
        "+callbacks.memory._target_=growth.WorkerMemory",
    ]
    samples = EPOCH_SAMPLES[device]
    few = [*base, f"data.batch_size={BATCH_SIZE}", f"trainer.limit_train_batches={BATCHES}"]
    # whole epochs: batches that workers load beyond a bound would be loaded in the next one's time
    loading = [
        *(*base, f"data.batch_size={BATCH_SIZE}", f"data.train_samples={samples // 2}"),
        # and a validation, whose loader has workers of its own
        *("data.encoded=jpeg", "trainer.limit_val_batches=1", "trainer.max_epochs=3"),
        *(["model.width=4"] if model == "small" else []),
    ]
    few_images = [*few, f"data.train_samples={BATCHES * BATCH_SIZE}"]
    sizes = (32, 256, 1024) if quick else tuple(2**power for power in range(5, 13))
    sets = (5000, 20_000) if quick else (5000, 10_000, 20_000, 50_000, 100_000, 200_000)
    images = (8, 32) if quick else (8, 16, 24, 32, 48, 64)
    workers = (0, 2) if quick else (0, 1, 2, 4, 8)
    whole = [*base, f"data.train_samples={samples}"]
    return {
        "batch size": {x: [*whole, f"data.batch_size={x}"] for x in sizes},
        "data-set size": {x: [*few, f"data.train_samples={x}"] for x in sets},
        "image size": {x: [*few_images, f"data.image_size={x}"] for x in images},
        **{
            f"workers, {pipeline}": {
                x: [*loading, f"data.pipeline={pipeline}", f"data.num_workers={x}"] for x in workers
            }
            for pipeline in ("per_sample", "batched")
        },
    }


def sweeps(quick: bool) -> Curves:
    """One run alone, sweeps of such runs, and sweeps that only compose theirs."""
    jobs, composed = ((1, 2), (1, 8)) if quick else ((1, 4, 16), (1, 16, 64, 256))
    return {
        "a run alone": {1: TINY},
        "a sweep": {x: ["-m", *TINY, f"seed=range({x})"] for x in jobs},
        "composing": {x: ["-m", *TINY, f"seed=range({x})", "sweep.dry_run=true"] for x in composed},
    }


def in_turn(curves: Curves, call: Callable[[list[str]], Any], rounds: int) -> Seen:
    """The figures of all curves."""

    def case(overrides: list[str]) -> Any:
        try:
            return call(overrides)
        except (UserError, RunFailedError) as error:  # too much for the memory, say
            print(f"failed: {error}")
            return {}

    cases = {f"{c} {x}": partial(case, o) for c, xs in curves.items() for x, o in xs.items()}
    seen = interleaved(cases, rounds, warm_up=0)
    by_x = {curve: {x: seen[f"{curve} {x}"] for x in xs} for curve, xs in curves.items()}
    return {curve: {x: of for x, of in xs.items() if of} for curve, xs in by_x.items()}


def table(seen: Seen) -> Rows:
    """Medians of all figures, of the first one with its extremes."""
    rows: Rows = []
    for curve, values in seen.items():
        for x, (first, *others) in ((x, list(of.items())) for x, of in values.items()):
            heading = ["what varies", "", first[0], *(name for name, _ in others)]
            shown = [f"{np.median(of_rounds):,.4g}" for _, of_rounds in others]
            rows = rows or [heading]
            rows.append([curve, f"{x:,}", spread(first[1], ",.4g"), *shown])
    return rows


def changes(seen: Seen) -> Rows:
    """What one more of it adds: between the first two values, the last two, and over all.

    And the power of it by which a figure grows; that of an image's pixels is half that of its side.
    """
    rows = [["what varies", "one more adds", "at first", "at last", "over all", "powers of it"]]
    for curve, values in seen.items():
        xs = sorted(values)
        for name in (name for name in GROWING if len(xs) > 1 and name in values[xs[0]]):
            of = {x: np.median(values[x][name]) for x in xs}
            pairs = ((xs[0], xs[1]), (xs[-2], xs[-1]), (xs[0], xs[-1]))
            slopes = [f"{(of[b] - of[a]) / (b - a):.3g}" for a, b in pairs]
            known = [(a, b) for a, b in pairs if min(a, of[a], of[b]) > 0]
            powers = [f"{math.log(of[b] / of[a]) / math.log(b / a):.2f}" for a, b in known]
            rows.append([curve, name, *slopes, ", ".join(powers)])
    return rows


def measure(
    device: str = "cpu", model: str = "small", rounds: int = 2, quick: bool = False
) -> Page:
    """All curves in turn; sweeps take long, and once is enough."""
    trained, swept = runs(device, model, quick), sweeps(quick)
    of_runs = in_turn(trained, partial(run_in_fresh_process, training), rounds)
    of_sweeps = in_turn(swept, program, rounds=1)
    seen = of_runs | of_sweeps
    configuration = {curve: list(xs.values())[-1] for curve, xs in (trained | swept).items()}
    return Page([changes(seen), table(of_runs), table(of_sweeps)], seen, configuration, device)


if __name__ == "__main__":
    main(measure, rounds=1)
