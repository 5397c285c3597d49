"""The jobs of `tests/foreign/jobs`, which know nothing of hpml: what comes of one that is run."""

import importlib
import random
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import TestCase

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.seed import _collect_rng_states

from helpers.configurations import TESTS
from helpers.snapshots import frozen
from hpml.callbacks import phase_timers

FOLDER = TESTS / "foreign" / "jobs"
NAMES = sorted(file.stem for file in FOLDER.glob("*.py"))
OURS = ("time/", "throughput/", "machine/")  # metrics


@dataclass
class Outcome:
    """All that more callbacks could have changed."""

    weights: Any
    optimizers: Any
    progress: Any
    losses: Any
    metrics: dict[str, Any]
    random: Any
    callbacks: list[str]  # but for those that are under test
    attributes: list[list[str]]  # of module, Trainer and loop
    warned: list[str]


@dataclass(eq=False)
class Losses(L.Callback):
    """Keeps what each training step gives."""

    every: list[Any] = field(default_factory=list)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.every.append(frozen(outputs))


def load(name: str) -> Any:
    """The job's module; each is found under its name alone, as scripts of one folder are."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)


def make(job: Any, folder: Path, callbacks: Sequence[L.Callback] = ()) -> Any:
    """Trainer, module and data, from the same random states whenever it is called."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    return job.make(callbacks=[*callbacks], default_root_dir=folder)


def run(name: str, folder: Path, callbacks: Sequence[L.Callback] = ()) -> Outcome:
    """Trains the job in `folder`, behind these callbacks; hpml warns of nothing."""
    job, losses = load(name), Losses()
    silence = TestCase().assertNoLogs("hpml", "WARNING")
    with silence, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trainer, module, data = make(job, folder, [losses, *callbacks])
        profiler = trainer.profiler
        job.fit(trainer, module, data)
    assert trainer.profiler is profiler
    theirs = [type(each).__name__ for each in trainer.callbacks if each not in callbacks]
    return Outcome(
        weights=frozen(module.state_dict()),
        optimizers=[frozen(optimizer.state_dict()) for optimizer in trainer.optimizers],
        progress=(trainer.current_epoch, trainer.global_step, trainer.should_stop),
        losses=losses.every,
        metrics={
            name: frozen(value)
            for name, value in trainer.callback_metrics.items()
            if not name.startswith(OURS)
        },
        random=frozen(_collect_rng_states()),
        callbacks=theirs,
        attributes=[sorted(vars(each)) for each in (module, trainer, trainer.fit_loop.epoch_loop)],
        warned=sorted({str(each.message) for each in warned}),
    )


def plain_and_timed(name: str, folder: Path) -> tuple[Outcome, list[Outcome]]:
    """What comes of the job, and of two fits with the same timers, which leave `record` and -2."""
    plain = run(name, folder / "plain")
    timers = phase_timers(folder / "record", every_n_steps=2)
    return plain, [run(name, folder / number, timers) for number in ("first", "second")]
