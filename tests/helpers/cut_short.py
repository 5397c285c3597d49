"""Runs that are cut short and resume, and the curves that they leave."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.configurations import QUICK, composed
from helpers.own import StopError, hooked
from hpml.train import train

STEPS = 6  # of each of the two epochs
JOB = (*QUICK, "data.batch_size=16", "logger=[tensorboard,csv]", "trainer.log_every_n_steps=1")
JOB += ("timing.every_n_steps=null",)  # windows of time begin anew
TIMES = ("mean/", "time/", "throughput/")
OFTEN, SELDOM = "checkpoint.every_s=1e-9", "checkpoint.every_s=null"


def run(folder: Path, *words: str, at_batch: Callable[[int], None] = lambda batches: None) -> Path:
    """A run that logs the number of each batch, and from the second epoch on one figure more."""

    def note(trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        at_batch(batches)
        module.log("own/batch", float(batches))
        if trainer.current_epoch:
            module.log("own/late", float(batches))

    with suppress(StopError):
        own = hooked(resumable=True, on_train_batch_start=note)
        train(composed(folder, *JOB, own, "resume=auto", *words))
    return folder


def stop_at(last: int) -> Callable[[int], None]:
    """Ends a run at the beginning of a batch, as an exception does."""

    def at_batch(batches: int) -> None:
        if batches == last:
            raise StopError

    return at_batch


def killed_at(last: int, folder: Path, *words: str) -> Path:
    """What a kill at the beginning of a batch leaves of a run."""

    def copy(batches: int) -> None:
        if batches == last:
            shutil.copytree(folder / "run", folder / "killed")

    run(folder / "run", *words, at_batch=copy)
    return folder / "killed"


def curves(folder: Path) -> dict[str, list[tuple[int, float | None]]]:
    """Of each tag the steps and, where a repeated run has the same, the values."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(at.step, None if tag.startswith(TIMES) else at.value) for at in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if not tag.startswith("machine/")  # nobody knows it of an epoch in two parts
    }
