"""What the timers read off a Trainer and its loaders."""

import math
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.data import sized_len
from torch.utils.data import DataLoader

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
        cores=max(1, usable_cores() // (trainer.world_size // trainer.num_nodes)),
        threads=torch.get_num_threads(),
        spins=waiting() == SPIN,
        num_workers=getattr(loader, "num_workers", None),
        persistent_workers=getattr(loader, "persistent_workers", None),
        pin_memory=getattr(loader, "pin_memory", None),
        reduced_precision="16" in str(trainer.precision),
    )


def surplus(loader: Any, steps: float) -> int:
    """Batches that a loader's workers make in each epoch beyond the `steps` that are taken of it.

    They load ahead, and know nothing of the Trainer's limit. A stream is taken to go on after it.
    """
    is_cut = getattr(getattr(loader, "sampler", None), "is_cut", False)
    if not isinstance(loader, DataLoader) or is_cut or steps == math.inf:
        return 0
    ahead = loader.num_workers * (loader.prefetch_factor or 0)
    length = sized_len(loader)
    return int(ahead if length is None else max(0, min(ahead, length - steps)))


def surplus_in_words(trainer: Any, batches: int, loop: str = "train") -> str:
    """A sentence on what workers make beyond `limit_train_batches`, or `limit_val_batches`."""
    key = "overfit_batches" if trainer.overfit_batches else f"limit_{loop}_batches"
    unused = f"{batches:,} unused batch{'es' if batches > 1 else ''}"
    per = "an epoch" if loop == "train" else "a validation"
    limit = f"{key}={getattr(trainer, key)}"
    return f"{limit}: workers also load up to {unused} {per}; the times hold that"


def surpluses(trainer: L.Trainer) -> list[str]:
    """A sentence for each of training and validation whose limit has workers load for nobody."""
    fit_loop = trainer.fit_loop
    training, validation = fit_loop._combined_loader, fit_loop.epoch_loop.val_loop._combined_loader
    in_training = training.limits if training is not None else None
    limits = {"train": in_training, "val": trainer.num_val_batches}
    sentences = []
    for loop, combined in (("train", training), ("val", validation)):
        loaders = combined.flattened if combined is not None else []
        more = sum(map(surplus, loaders, limits[loop] or []))
        sentences += [surplus_in_words(trainer, more, loop)] if more else []
    return sentences
