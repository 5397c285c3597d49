"""What the timers read off a Trainer, its loaders and its ranks."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from hpml.environment import usable_cores
from hpml.timing.advice import Setting
from hpml.timing.verdict import CAUSES, LEAST_MARGIN, Share


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


def setting_of(trainer: L.Trainer) -> Setting:
    """What the advice has to know, as far as a Trainer tells it."""
    loader = trainer.train_dataloader
    return Setting(
        on_gpu=trainer.strategy.root_device.type != "cpu",
        cores=usable_cores(),
        num_workers=getattr(loader, "num_workers", None),
        persistent_workers=getattr(loader, "persistent_workers", None),
        pin_memory=getattr(loader, "pin_memory", None),
        reduced_precision="16" in str(trainer.precision),
    )


def shares_of_the_slowest(
    trainer: L.Trainer, shares: Mapping[str, Share]
) -> tuple[dict[str, Share], int]:
    """The shares on the rank that the others wait for, and its number.

    It is the one that waits least: where gradients are exchanged, waiting counts as training.
    All ranks call this.
    """
    own = torch.zeros(len(CAUSES), 2, device=trainer.strategy.root_device)
    for row, cause in enumerate(CAUSES):
        if cause in shares:
            own[row] = torch.tensor([shares[cause].share, shares[cause].error])
    every = trainer.strategy.all_gather(own).cpu()  # (ranks, causes, 2)
    training = every[:, list(CAUSES).index("compute"), 0]
    rank = int(training.argmin())
    if training[0] - training[rank] < LEAST_MARGIN:
        rank = 0
    if not every[rank].any():
        return {}, 0
    rows = every[rank].tolist()
    return {cause: Share(*row) for cause, row in zip(CAUSES, rows, strict=True)}, rank
