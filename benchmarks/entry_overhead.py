"""What the whole training entry adds to a step, over a loop by hand and over a bare Trainer.

    python benchmarks/entry_overhead.py

In one run, in turn: the same network, batches, loss and optimizer in a loop by hand; on a Trainer
that has nothing else; and as `hpml.train.train` trains them, with all it does by default: timers
and their windows, record, TensorBoard, a progress bar that is drawn to a pseudo-terminal, means of
loss and accuracy, the watch over the loss, checkpoints, points to go on from, signals. Then the
entry again, each of its parts left out in turn.

The network is a linear layer on eight images of 8×8 pixels, in one thread, so that what is added
shows beside a step. Each case trains in a process of its own, and they take turns of a hundred
steps, so that what else the machine does meets all of them alike. The clock runs from one call of
`training_step` to that of a hundred steps later, and the figure of a run is the median over its
turns: what is done every so many steps is in it, as the windows and the bar; start-up and the ends
of epochs, with validation and checkpoints, are not.
"""

import logging
import multiprocessing
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import termios
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from harness import spread, table, write
from hydra import compose, initialize_config_dir

import hpml.train
from hpml import callbacks
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.config.conf import find_conf, resolve
from hpml.data.build import build_data
from hpml.models.image_classifier import ImageClassifier
from hpml.training.build import build_module

ROUNDS = 5
EPOCHS = 2
STEPS = 1500  # an epoch
EVERY = 100
BATCH_SIZE = 8
PIXELS = 8

# What is left out of the entry: its callbacks, or what the configuration says.
LEFT_OUT: dict[str, tuple[type, ...] | list[str]] = {
    "timers, windows, record": (PhaseTimer, callbacks.RunRecorder),
    "windows": ["timing.every_n_steps=null"],
    "checkpoints, points": ["trainer.enable_checkpointing=false"],
    "progress bar": ["callbacks.progress_bar=null"],
    "forecast": ["callbacks.forecast=null"],
    "StopOnSignal, HParams": (callbacks.StopOnSignal, callbacks.HParams),
    "TensorBoard": ["logger=none"],
}
MEANS = "means, watch over the loss"  # the module's
FIGURES = ("us", "added_us", "added_processor_us")
MAIN = ("by hand", "bare Trainer", "hpml.train")


class Turns:
    """Lets a process train a hundred steps when it is its turn, and tells how long a step took."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._calls = 0
        self._since = (0.0, 0.0)

    def on(self, module: Any) -> Any:
        """A module whose training steps call `step`."""
        train = module.training_step
        module.training_step = lambda *args: (self.step(), train(*args))[1]
        return module

    def step(self) -> None:
        """Called once a step."""
        if self._calls % EVERY == 0:
            clocks = (time.perf_counter(), time.thread_time())
            us = [1e6 / EVERY * (s - since) for s, since in zip(clocks, self._since, strict=True)]
            self._pipe.send(us)
            self._pipe.recv()
            self._since = (time.perf_counter(), time.thread_time())
        self._calls += 1


class Plain(L.LightningModule):
    """The network of an ImageClassifier, with its loss and its optimizer, and nothing else."""

    def __init__(self, module: ImageClassifier) -> None:
        super().__init__()
        self.network = module.network
        self.make_optimizer = module.make_optimizer

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss."""
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.network(images), labels)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """After the timed region: for the callbacks' sake."""

    def configure_optimizers(self) -> Any:
        """The ImageClassifier's."""
        return self.make_optimizer(self.parameters())


def linear(num_classes: int) -> torch.nn.Module:
    """The smallest network there is for these images."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * PIXELS**2, num_classes))


def configured(folder: Path, *more: str) -> Any:
    """A linear layer on the smallest images."""
    overrides = [
        "data=synthetic",
        "model=small",
        "~model.width",
        "model._target_=entry_overhead.linear",
        "optimizer.lr=0.001",
        "device=cpu",
        f"data.batch_size={BATCH_SIZE}",
        f"data.train_samples={BATCH_SIZE * STEPS}",
        f"data.test_samples={BATCH_SIZE}",
        f"data.image_size={PIXELS}",
        f"trainer.max_epochs={EPOCHS}",
        f"output_dir={folder}",
        f"run_dir={folder / 'run'}",
        "resume=never",
        *more,
    ]
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        return compose("train", overrides=overrides)


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


def by_hand(turns: Turns, folder: Path) -> None:
    """A loop over the loader."""
    cfg = configured(folder)
    data = build_data(cfg)
    module = Plain(build_module(cfg, data))
    optimizer = module.configure_optimizers()
    for _ in range(EPOCHS):
        for number, batch in enumerate(data.train_dataloader()):
            turns.step()
            loss = module.training_step(data.on_after_batch_transfer(batch, 0), number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def bare(turns: Turns, folder: Path) -> None:
    """A Trainer that does nothing besides."""
    cfg = configured(folder)
    data = build_data(cfg)
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(turns.on(Plain(build_module(cfg, data))), datamodule=data)


def entry(turns: Turns, folder: Path, without: str | None = None) -> None:
    """`hpml.train.train`, of which a part may be left out."""
    part = LEFT_OUT.get(without or "", [])
    left_out = part if isinstance(part, tuple) else ()
    cfg = configured(folder, *(part if isinstance(part, list) else []))

    def module(cfg: Any, data: Any) -> Any:
        made = build_module(cfg, data)
        return turns.on(Plain(made) if without == MEANS else made)

    def trainer(callbacks: list[Any], **arguments: Any) -> L.Trainer:
        kept = [one for one in callbacks if not isinstance(one, left_out)]
        return make(callbacks=kept, **arguments)

    hpml.train.build_module = module
    make, L.Trainer = L.Trainer, trainer
    with terminal():
        hpml.train.train(cfg)


CASES: dict[str, Callable[[Turns, Path], None]] = {
    "by hand": by_hand,
    "bare Trainer": bare,
    "hpml.train": entry,
    **{f"without {part}": partial(entry, without=part) for part in (MEANS, *LEFT_OUT)},
}


def train(case: str, pipe: Any, folder: Path) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    CASES[case](Turns(pipe), folder / str(list(CASES).index(case)))


def run(cases: Sequence[str], folder: Path) -> dict[str, list[tuple[float, float]]]:
    """By case and turn: microseconds a step, and those of the training thread's processor."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for case in cases:
        pipes[case], theirs = context.Pipe()
        process = context.Process(target=train, args=(case, theirs, folder), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
    turns: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    try:
        for pipe in pipes.values():
            pipe.recv()  # it stands before its first step
        for _ in range(EPOCHS * STEPS // EVERY - 1):
            for case, pipe in pipes.items():
                pipe.send("go")
                turns[case].append(pipe.recv())
    finally:
        for process in processes:
            process.kill()
            process.join()
    return {case: of_case[1:] for case, of_case in turns.items()}


def medians(turns: dict[str, list[tuple[float, float]]], case: str, of: str) -> list[float]:
    """Over the turns of a run: a step, what it is longer than another case's, the same of the
    training thread's processor.
    """
    pairs = list(zip(turns[case], turns[of], strict=True))
    return [
        statistics.median(one for (one, _), _ in pairs),
        statistics.median(one - other for (one, _), (other, _) in pairs),
        statistics.median(one - other for (_, one), (_, other) in pairs),
    ]


def main() -> None:
    """Measures, prints, and writes the results."""
    parts = [case for case in CASES if case not in MAIN]
    groups = [list(MAIN)]
    groups += [["hpml.train", *parts[start : start + 3]] for start in range(0, len(parts), 3)]
    found: dict[str, list[list[float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for group in groups:
                turns = run(group, Path(folder) / f"{number}-{groups.index(group)}")
                of = "bare Trainer" if group is groups[0] else "hpml.train"
                for case in group:
                    if case != of or (case in MAIN and group is groups[0]):
                        found[case].append(medians(turns, case, of))
                        shown = ", ".join(f"{value:,.0f}" for value in found[case][-1])
                        print(f"round {number + 1}/{ROUNDS}  {case}: {shown}", flush=True)
    figures = {
        case: dict(zip(FIGURES, map(list, zip(*of_case, strict=True)), strict=True))
        for case, of_case in found.items()
    }
    over = [["case", "us a step", "over the bare Trainer, us", "of the thread's processor, us"]]
    saved = [["hpml.train without", "saves, us", "of the thread's processor, us"]]
    for case, of_case in figures.items():
        added, own = of_case["added_us"], of_case["added_processor_us"]
        if case not in MAIN:
            less, own_less = ([-value for value in values] for values in (added, own))
            saved.append([case.removeprefix("without "), spread(less), spread(own_less)])
        elif case == "bare Trainer":
            over.append([case, spread(of_case["us"]), "", ""])
        else:
            over.append([case, spread(of_case["us"]), spread(added), spread(own)])
    told = (
        f"{ROUNDS} runs, each of {EPOCHS} epochs of {STEPS:,} steps; median (lowest to highest). "
        f"Processes of one thread take turns of {EVERY} steps; a run's figure is the median over "
        "its turns, of differences between neighbouring ones. From one call of training_step to "
        f"that of {EVERY} steps later: without start-up, validation and the ends of epochs. A "
        f"linear layer on batches of {BATCH_SIZE} images of {PIXELS}×{PIXELS} pixels, by the "
        "batched pipeline; the bare Trainer has no logger, no callbacks, no bar and no metrics."
    )
    more = "\n".join(table(saved))
    configuration = {"hpml.train": resolve(configured(Path("outputs")))}
    write(
        "entry_overhead",
        "What the training entry adds to a step",
        told,
        over,
        figures,
        configuration,
        more,
    )


if __name__ == "__main__":
    main()
