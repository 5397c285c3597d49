"""What the whole training entry adds to a step, over a loop by hand and over a bare Trainer.

    python benchmarks/entry_overhead.py

In one run, in turn: the same network, batches, loss and optimizer in a loop by hand; on a Trainer
without logger, callbacks, bar and metrics; and as `hpml.train.train` trains them, with all it does
by default, its progress bar on a pseudo-terminal. Then the entry again, each of its parts left out
in turn.

The network is a linear layer on eight images of 8×8 pixels, in one thread, so that what is added
shows beside a step. Each case trains in a process of its own, and they take turns of a hundred
steps on the same core, so that what else the machine does meets all of them alike. The clock runs
from one call of `training_step` to that of a hundred steps later. A run's figure is the median over
its turns, of differences between neighbouring ones; then median (lowest to highest) over the runs.
What is done every so many steps is in it, as the windows and the bar; start-up and the ends of
epochs, with validation and checkpoints, are not.
"""

import multiprocessing
import os
import pty
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import harness
import lightning as L
import numpy as np
import torch
from torch import nn

import hpml.train
from hpml.callbacks import HParams, RunRecorder
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.checkpointing.stop_on_signal import StopOnSignal
from hpml.data.build import build_data
from hpml.models.image_classifier import ImageClassifier
from hpml.training.build import build_module

EPOCHS, EVERY = 2, 100
BATCH_SIZE, PIXELS = 8, 8
# What is left out of the entry: its callbacks, or what the configuration says.
LEFT_OUT: dict[str, tuple[type, ...] | list[str]] = {
    "timers, windows, record": (PhaseTimer, RunRecorder),
    "windows": ["timing.every_n_steps=null"],
    "checkpoints": ["trainer.enable_checkpointing=false"],
    "progress bar": ["callbacks.progress_bar=null"],
    "runtime estimate": ["callbacks.forecast=null"],
    "StopOnSignal, HParams": (StopOnSignal, HParams),
    "TensorBoard": ["logger=none"],
}
MEANS = "means, watch over the loss"  # the module's
BARE, ENTRY = "bare Trainer", "hpml.train"
ADDED = ("added_us", "added_processor_us")  # by each clock of Turns


class Turns:
    """Lets a process train a hundred steps when it is its turn, and reports how long a step took.

    Microseconds of a step, and those of the training thread's processor.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._calls = 0
        self._since = (0.0, 0.0)

    def watch(self, module: type[L.LightningModule]) -> None:
        """Has the training steps of a class of modules call `step`."""
        train = module.training_step
        module.training_step = lambda *args: (self.step(), train(*args))[1]  # type: ignore[method-assign]

    def step(self) -> None:
        """Called once a step."""
        if self._calls % EVERY == 0:
            clocks = (time.perf_counter(), time.thread_time())
            us = [1e6 / EVERY * (s - since) for s, since in zip(clocks, self._since, strict=True)]
            self._pipe.send(us)
            self._pipe.recv()
            self._since = (time.perf_counter(), time.thread_time())
        self._calls += 1


def linear(num_classes: int) -> nn.Module:
    """The smallest network there is for these images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * PIXELS**2, num_classes))


def job(steps: int, *more: str) -> Any:
    """A linear layer on the smallest images."""
    return harness.configured(
        *("data=synthetic", f"data.image_size={PIXELS}", f"data.batch_size={BATCH_SIZE}"),
        *(f"data.train_samples={BATCH_SIZE * steps}", f"data.test_samples={BATCH_SIZE}"),
        *("model=small", "~model.width", "~model.norm"),
        "model._target_=entry_overhead.linear",
        *("optimizer.lr=0.001", "device=cpu", f"trainer.max_epochs={EPOCHS}", "resume=never"),
        *more,
    )


@contextmanager
def terminal() -> Iterator[None]:
    """Within it, stdout is a terminal that another process reads."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # without a size, tqdm finds no row to draw on
    quiet = subprocess.DEVNULL
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=quiet, stderr=quiet)
    os.close(ours)
    stdout = sys.stdout
    try:
        with os.fdopen(theirs, "w") as sys.stdout:
            yield
    finally:
        sys.stdout = stdout
        reader.wait()


def plain(steps: int) -> tuple[harness.Plain, Any]:
    """The entry's network, loss and optimizer in a module that has nothing else; and its data."""
    cfg = job(steps)
    data: Any = build_data(cfg)
    module: Any = build_module(cfg, data)
    return harness.Plain(module.network, module.make_optimizer), data


def by_hand(turns: Turns, steps: int) -> None:
    """A loop over the loader."""
    module, data = plain(steps)
    optimizer = module.configure_optimizers()
    for _ in range(EPOCHS):
        for number, batch in enumerate(data.train_dataloader()):
            turns.step()
            loss = module.training_step(data.on_after_batch_transfer(batch, 0), number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def bare(turns: Turns, steps: int) -> None:
    """A Trainer that does nothing besides."""
    module, data = plain(steps)
    turns.watch(harness.Plain)
    harness.bare_trainer(max_epochs=EPOCHS).fit(module, datamodule=data)


def entry(turns: Turns, steps: int, without: str = "") -> None:
    """`hpml.train.train`, of which a part may be left out."""
    part = LEFT_OUT.get(without, [])
    if isinstance(part, tuple):
        make = L.Trainer.__init__

        def init(self: L.Trainer, *, callbacks: Sequence[L.Callback], **settings: Any) -> None:
            kept = [callback for callback in callbacks if not isinstance(callback, part)]
            assert len(kept) < len(callbacks), f"there is nothing to leave out of {without}"
            make(self, callbacks=kept, **settings)

        L.Trainer.__init__ = init  # type: ignore[method-assign, assignment]
    if without == MEANS:
        ImageClassifier.training_step = harness.Plain.training_step  # type: ignore[method-assign, assignment]
    turns.watch(ImageClassifier)
    with terminal():
        hpml.train.train(job(steps, *(part if isinstance(part, list) else [])))


MAIN: dict[str, Callable[..., None]] = {"by hand": by_hand, BARE: bare, ENTRY: entry}
CASES = MAIN | {part: partial(entry, without=part) for part in (MEANS, *LEFT_OUT)}


def train(case: str, pipe: Connection, steps: int, folder: str) -> None:
    """What one process does, which leaves its files in a folder."""
    tempfile.tempdir = folder
    on_one_core()
    torch.set_num_threads(1)
    harness.be_quiet()
    CASES[case](Turns(pipe), steps)


def on_one_core() -> None:
    """The same one for all: cores of a shared machine differ in speed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run(base: str, others: Sequence[str], steps: int) -> dict[str, dict[str, float]]:
    """By case the medians over the turns: a step, and what it is longer than the base's."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    turns: dict[str, list[Any]] = {case: [] for case in (base, *others)}
    with tempfile.TemporaryDirectory() as folder:
        for case in turns:
            pipes[case], theirs = context.Pipe()
            process = context.Process(target=train, args=(case, theirs, steps, folder), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
        try:
            for pipe in pipes.values():
                pipe.recv()  # it stands before its first step
            for _ in range(EPOCHS * steps // EVERY - 1):
                for case, pipe in pipes.items():
                    pipe.send("go")
                    turns[case].append(pipe.recv())
        finally:
            for process in processes:
                process.kill()
                process.join()
    us = {case: np.array(of_case[1:]) for case, of_case in turns.items()}  # (turns, clocks)
    figures = {case: {"us": float(np.median(of_case[:, 0]))} for case, of_case in us.items()}
    for case, of_case in us.items():
        added = np.median(of_case - us[base], axis=0).tolist()
        figures[case] |= dict(zip(ADDED, added, strict=True))
    return figures


def measure(rounds: int = 5, steps: int = 1500) -> harness.Page:
    """The three ways in turn, and then the entry with each part left out, four at a time."""
    parts = [case for case in CASES if case not in MAIN]
    cases = {"all of them": partial(run, BARE, ["by hand", ENTRY], steps)}
    for start in range(0, len(parts), 3):
        some = parts[start : start + 3]
        cases[f"without {', '.join(some)}"] = partial(run, ENTRY, some, steps)
    ways, *groups = harness.interleaved(cases, rounds, warm_up=0).values()
    left_out = {part: of for group in groups for part, of in group.items() if part != ENTRY}
    over = [["case", "us a step", "over the bare Trainer, us", "of the thread's processor, us"]]
    for case, of in ways.items():
        compared = [harness.spread(of[key]) for key in ADDED]
        over.append([case, harness.spread(of["us"]), *(["", ""] if case == BARE else compared)])
    saved = [["hpml.train without", "saves, us", "of the thread's processor, us"]]
    for part, of in left_out.items():
        saved.append([part, *(harness.spread(-of[key]) for key in ADDED)])
    return harness.Page([over, saved], ways | left_out, {ENTRY: harness.contents(job(steps))})


if __name__ == "__main__":
    harness.main(measure, rounds=1, steps=200)
