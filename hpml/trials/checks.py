"""What a user hands over, as `fit` takes it; what it would refuse is refused in one sentence."""

import math
from types import FunctionType
from typing import Any

import lightning as L
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils._pytree import tree_leaves

from hpml.errors import UserError
from hpml.system.lightning_packages import package_of, twin_for, twins
from hpml.trials.module_copies import uncompiled

USAGE = "give trainer, module, data, in this order"


def is_seconds(given: Any) -> bool:
    """Whether it is a finite number above 0; true and false are none."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return is_number and 0 < given < math.inf


def check_given(trainer: Any, module: Any, data: Any) -> None:
    """Raises UserError for arguments in another order, of other kinds, or of two Lightnings."""
    if not isinstance(trainer, twins(L.Trainer)):
        raise UserError(f"trainer: is a {_kind(trainer)}, no Trainer of Lightning's; {USAGE}")
    plain = uncompiled(module)
    if not isinstance(plain, twins(L.LightningModule)):
        raise UserError(f"module: is a {_kind(plain)}, no LightningModule; {USAGE}")
    if isinstance(data, (*twins(L.LightningModule), *twins(L.Trainer), type)):
        what = f"the class {data.__name__}" if isinstance(data, type) else f"a {_kind(data)}"
        raise UserError(f"data: is {what}, no loader and no LightningDataModule; {USAGE}")
    if data is None and not is_overridden(
        "train_dataloader", plain, twin_for(plain, L.LightningModule)
    ):
        raise UserError(f"data: there is none, and {_kind(plain)} has no train_dataloader; {USAGE}")
    lightning = [plain, data] if isinstance(data, twins(L.LightningDataModule)) else [plain]
    for thing in lightning:
        if package_of(thing) != package_of(trainer):
            raise UserError(
                f"{_kind(thing)} is of {package_of(thing)}, the Trainer of "
                f"{package_of(trainer)}; import both from the same one"
            )


def check_trainer(trainer: Any, on_ranks: bool) -> None:
    """Raises UserError for one that trains nothing, or without `on_ranks` on several devices."""
    if (devices := trainer.world_size) > 1 and not on_ranks:
        raise UserError(
            f"{devices} devices: this runs on one; give trainer.devices=1, or tune or diagnose, "
            "which run on several"
        )
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if getattr(trainer, key) == 0:
            raise UserError(f"trainer.{key}=0: nothing would be trained; give at least 1")


def check_loaders(data: Any) -> None:
    """Raises UserError for what cannot begin again, and for what Lightning does not train with."""
    if isinstance(data, twins(CombinedLoader)):
        if data._mode == "sequential":
            raise UserError(
                "the data is a CombinedLoader of mode 'sequential', with which Lightning does not "
                "train; give min_size, max_size or max_size_cycle"
            )
        data = data.iterables
    for loader in [] if data is None else tree_leaves(data):
        if not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
            raise UserError(f"data: holds {loader!r}, which is no loader; {USAGE}")
        if hasattr(loader, "__next__") and not _begins_again(loader):
            raise UserError("the data is an iterator, which gives its batches once; give a loader")


def _begins_again(iterator: Any) -> bool:
    """Whether its `__iter__` does more than to return it."""
    own = getattr(type(iterator), "__iter__", None)
    return isinstance(own, FunctionType) and own.__code__.co_code != _itself.__code__.co_code


def _itself(self: Any) -> Any:
    return self


def _kind(thing: Any) -> str:
    return type(thing).__name__
