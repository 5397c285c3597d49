"""What the timers read off a Trainer and its loaders."""

from typing import Any

import lightning as L
import torch

from hpml.system.environment import usable_cores
from hpml.system.threads import SPIN, waiting
from hpml.timing.advice import JobFacts


def logging_step(trainer: L.Trainer) -> int:
    """The step at which Lightning logs now; with several optimizers `global_step` is another."""
    loop = trainer.fit_loop.epoch_loop
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


def facts_of_trainer(trainer: L.Trainer, loader: Any) -> JobFacts:
    """What the advice has to know, as far as a Trainer and its training loader show it."""
    return JobFacts(
        on_gpu=trainer.strategy.root_device.type != "cpu",
        cores=usable_cores() // (trainer.world_size // trainer.num_nodes),
        threads=torch.get_num_threads(),
        spins=waiting() == SPIN,
        num_workers=getattr(loader, "num_workers", None),
        persistent_workers=getattr(loader, "persistent_workers", None),
        pin_memory=getattr(loader, "pin_memory", None),
        reduced_precision="16" in str(trainer.precision),
    )
