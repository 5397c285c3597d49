"""Which fits could resume exactly, and after which of their batches."""

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from hpml.callbacks.observer import Observer
from hpml.data.image_data_module import ImageDataModule


def why_not(trainer: L.Trainer, module: L.LightningModule) -> str | None:
    """Why a run could not resume exactly from its middle; None where it can."""
    if not _has_exact_batches(trainer):
        return "no batch of an epoch is one after which it could begin again"
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        return f"{type(trainer.strategy).__name__} may keep its checkpoints in parts"
    if not module.automatic_optimization:
        return "the module optimizes by itself, and may be accumulating gradients"
    if not hasattr(module, "resume_state"):
        return "the module has no resume_state: what it has summed up of an epoch would be lost"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        of_lightning = type(callback).__module__.startswith("lightning.")
        stateless = type(callback).state_dict is L.Callback.state_dict
        theirs = not (of_lightning or isinstance(callback, Observer))
        if (theirs and stateless) or isinstance(callback, StochasticWeightAveraging):
            return f"{type(callback).__name__} has no state_dict that would bring it back"
    if is_overridden("on_train_batch_end", module, L.LightningModule):
        return "the module's on_train_batch_end comes after the checkpoint"
    if isinstance(trainer.datamodule, ImageDataModule):  # type: ignore[attr-defined]
        return None
    combined = trainer.fit_loop._combined_loader
    loaders = combined.flattened if combined is not None else []
    if loaders and all(hasattr(loader, "state_dict") for loader in loaders):
        return None  # which Lightning keeps
    return "its loader has no state_dict, and cannot begin in the middle of an epoch"


def _has_exact_batches(trainer: L.Trainer) -> bool:
    """Whether some batch of an epoch ends a window of gradients, and no validation follows."""
    last, window = trainer.num_training_batches, trainer.accumulate_grad_batches
    check = trainer.val_check_batch if trainer.enable_validation else None
    ends = range(window, int(min(last, 3 * window + 1)), window)  # two in a row are enough to see
    return any(check is None or end % check for end in ends)


def can_begin_here(trainer: L.Trainer) -> bool:
    """Whether training can begin again exactly after the batch that has just ended."""
    loop = trainer.fit_loop.epoch_loop
    return not (
        loop._should_accumulate()
        or loop._num_ready_batches_reached()
        or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
    )
