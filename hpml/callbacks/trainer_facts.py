"""What the timers read off a Trainer, its loaders and its ranks."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from hpml.system.environment import usable_cores
from hpml.timing.advice import JobFacts
from hpml.timing.verdict import LEAST_MARGIN


def logging_step(trainer: L.Trainer) -> int:
    """The step at which Lightning logs now; with several optimizers `global_step` is another."""
    loop = trainer.fit_loop.epoch_loop
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


def samples_in(batch: Any) -> int | None:
    """The samples of a batch of any kind: the first dimension of the first tensor in it.

    Looks into tuples, lists and dictionaries. None where no tensor with a dimension is found.
    """
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.ndim else None
    if not isinstance(batch, list | tuple):
        if not isinstance(batch, Mapping):
            return None
        batch = batch.values()
    for part in batch:
        found = samples_in(part)
        if found is not None:
            return found
    return None


def facts_of_trainer(trainer: L.Trainer, loader: Any) -> JobFacts:
    """What the advice has to know, as far as a Trainer and its training loader tell it."""
    return JobFacts(
        on_gpu=trainer.strategy.root_device.type != "cpu",
        cores=usable_cores() // (trainer.world_size // trainer.num_nodes),
        num_workers=getattr(loader, "num_workers", None),
        persistent_workers=getattr(loader, "persistent_workers", None),
        pin_memory=getattr(loader, "pin_memory", None),
        reduced_precision="16" in str(trainer.precision),
    )


def slowest_rank(trainer: L.Trainer, waited_share: float) -> int:
    """The rank that the others wait for: all ranks call this, each with its own share of waiting.

    It is the one that waits least; rank 0 where they hardly differ.
    """
    own = torch.tensor(waited_share, device=trainer.strategy.root_device)
    every = trainer.strategy.all_gather(own).tolist()
    rank = every.index(min(every))
    return rank if every[0] - every[rank] >= LEAST_MARGIN else 0
