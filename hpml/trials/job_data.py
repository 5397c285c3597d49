"""A job's training data, whichever way it is given: by a data module, as loaders, by the module."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader

from hpml.callbacks.batch_size import TRANSFER_HOOKS
from hpml.callbacks.trainer_facts import surplus
from hpml.data.image_data_module import ImageDataModule
from hpml.data.sampling import cut
from hpml.errors import UserError
from hpml.loading.loader_copies import with_own_state
from hpml.system.lightning_packages import twin_for, twins
from hpml.system.patch_object import alter
from hpml.trials.checks import check_loaders
from hpml.trials.intervention import nothing
from hpml.trials.settings import Settings


class JobData:
    """Gives each trial a loader of its own, made as Lightning would.

    `data` is a LightningDataModule, a loader, several, or None where the module has its own;
    `limit` the Trainer's `limit_train_batches`. Raises UserError for an iterator that does not
    begin again.
    """

    def __init__(self, data: Any, limit: int | float) -> None:
        self.is_module = isinstance(data, twins(L.LightningDataModule))
        if not self.is_module:
            check_loaders(data)
        self.given: Any = with_own_state(data, {})
        self._limit = limit
        self._is_set_up = False
        self.epoch_steps: int | None = None  # None where only the loader knows
        self.loader: Any = None  # the last one that was made for itself
        self._untouched: Any = None  # the first one, as it was before anything was read by it

    def new_loader(self, trainer: L.Trainer, module: Any) -> Any:
        """The training loader by itself; the epoch's steps are known from then."""
        loader = self.given
        if self.is_module:
            loader = self.module_for(trainer).train_dataloader()
        elif loader is None:
            module.trainer = trainer
            loader = module.train_dataloader()
        self.loader = one_loader(self._for_a_trial(loader, trainer))
        if self.epoch_steps is None:
            self.epoch_steps = self._steps_in(self.loader)
        if self._untouched is None:
            self._untouched = [with_own_state(each, {}) for each in data_loaders(self.loader)]
        return self.loader

    @property
    def untouched(self) -> list[Any]:
        """torch's loaders, whose data sets have kept nothing yet of what the trials have read."""
        return self._untouched or []

    def for_fit(
        self, trainer: L.Trainer, module: Any, transfer: bool, paced: Callable[[Any], Any]
    ) -> dict[str, Any]:
        """What `fit` is given besides the module, its loader paced; `transfer` keeps its hooks."""
        if self.given is not None and not self.is_module:
            return {"train_dataloaders": paced(self._for_a_trial(self.given, trainer))}
        owner = self.module_for(trainer) if self.is_module else module
        own = owner.train_dataloader
        alter(owner, train_dataloader=lambda owner: paced(self._for_a_trial(own(), trainer)))
        if not self.is_module:
            return {}
        if not transfer:
            base = twin_for(owner, L.LightningDataModule)
            alter(owner, **{hook: getattr(base, hook) for hook in TRANSFER_HOOKS})
        return {"datamodule": owner}

    @property
    def num_workers(self) -> int:
        return sum(loader.num_workers for loader in data_loaders(self.loader))

    @property
    def surplus(self) -> int:
        """Batches that the workers make in each epoch beyond those that are trained."""
        if self.epoch_steps is None:
            return 0
        return sum(surplus(loader, self.epoch_steps) for loader in data_loaders(self.loader))

    def left_ahead(self, steps: int) -> int:
        """Batches that workers have ready after so many steps, beyond those that an epoch leaves.

        The next epoch waits for them; workers that are new know nothing of them.
        """
        return sum(_left_ahead(each, steps, self.epoch_steps) for each in data_loaders(self.loader))

    def close(self) -> None:
        end_workers(self.loader)
        self.given = self.loader = self._untouched = None

    def module_for(self, trainer: L.Trainer) -> L.LightningDataModule:
        """A copy for one trial; what is set up once stays so for all of them."""
        if not self._is_set_up:
            self.given.trainer = trainer
            each_node = self.given.prepare_data_per_node
            if (trainer.local_rank if each_node else trainer.global_rank) == 0:
                self.given.prepare_data()
            trainer.strategy.barrier()
            self.given.setup("fit")
            self._is_set_up = True
        data: L.LightningDataModule = copy.copy(self.given)
        data.trainer = trainer
        alter(data, prepare_data=nothing, setup=nothing, teardown=nothing)
        return data

    def _for_a_trial(self, loader: Any, trainer: L.Trainer) -> Any:
        """Loaders of its own; those of our data are cut as the user's Trainer has them cut."""
        if isinstance(self.given, ImageDataModule):
            for each in data_loaders(one_loader(loader)):
                cut(each, self._limit)
        loader = _with_workers_of_its_own(loader)
        return loader if trainer.world_size == 1 else _of_this_rank(loader, trainer)

    def _steps_in(self, loader: Any) -> int | None:
        limit, steps = self._limit, sized_len(loader)
        if steps == 0:
            raise UserError("the training loader gives no batch")
        if isinstance(limit, int):
            return limit if steps is None else min(steps, limit)
        if steps is None:
            return None
        if steps * limit < 1:
            raise UserError(
                f"trainer.limit_train_batches={limit}: is less than one of the {steps} batches; "
                "give more"
            )
        return int(steps * limit)


def _with_workers_of_its_own(data: Any) -> Any:
    """Loaders that share all but the processes that persist in the user's, and where they are."""
    if isinstance(data, twins(CombinedLoader)):
        combined = copy.copy(data)
        combined.flattened = [_with_workers_of_its_own(each) for each in data.flattened]
        combined._iterator = None
        return combined

    def copied(loader: Any) -> Any:
        if not isinstance(loader, DataLoader) and not hasattr(loader, "__next__"):
            return loader
        loader = copy.copy(loader)
        if isinstance(loader, DataLoader):
            loader._iterator = None
        return loader

    return tree_map(copied, data)


def _of_this_rank(data: Any, trainer: Any) -> Any:
    """Loaders of the samples that are a rank's, as the Trainer has it: by a distributed sampler."""

    def own(loader: Any) -> Any:
        connector = trainer._data_connector
        own = connector._prepare_dataloader(loader, shuffle=True, mode=RunningStage.TRAINING)
        return trainer.strategy.process_dataloader(own)

    if isinstance(data, twins(CombinedLoader)):
        data.flattened = list(map(own, data.flattened))
        return data
    return tree_map(own, data)


def changed(loader: Any, settings: Settings) -> Any:
    """A loader, or several, of which a trial has its own copies, with settings changed."""
    nested = loader.flattened if isinstance(loader, twins(CombinedLoader)) else loader
    nested = loader.loader.flattened if isinstance(loader, _Combined) else nested
    for each in tree_leaves(nested):
        settings.change_loader(each)
    return loader


def data_loaders(loader: Any) -> list[DataLoader[Any]]:
    """torch's loaders among those of `one_loader`."""
    every = loader.loader.flattened if isinstance(loader, _Combined) else [loader]
    return [each for each in every if isinstance(each, DataLoader)]


def batches_ahead(loader: Any) -> int:
    """Batches that the workers keep ready."""
    return sum(each.num_workers * (each.prefetch_factor or 0) for each in data_loaders(loader))


def _left_ahead(loader: DataLoader[Any], steps: int, epoch_steps: int | None) -> int:
    ahead = batches_ahead(loader) if loader.persistent_workers else 0
    if epoch_steps is None:
        return ahead
    is_cut = getattr(loader.sampler, "is_cut", False)
    length = epoch_steps if is_cut else sized_len(loader) or math.inf
    ready, at_the_end = (
        max(0, min(ahead, length - taken)) for taken in (1 + (steps - 1) % epoch_steps, epoch_steps)
    )
    return int(ready - at_the_end)


def end_workers(loader: Any) -> None:
    """Those that persist would still load when the next trial has begun."""
    for each in data_loaders(loader):
        iterator: Any = each._iterator
        each._iterator = None
        if iterator is not None:
            iterator._shutdown_workers()


def one_loader(data: Any) -> Any:
    """A loader as it is; several as Lightning combines them, without its numbers beside a batch."""
    if isinstance(data, Mapping | list | tuple):
        data = CombinedLoader(data, "max_size_cycle")
    return _Combined(data) if isinstance(data, twins(CombinedLoader)) else data


@dataclass(eq=False)
class _Combined:
    loader: CombinedLoader

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, _, _ in iter(self.loader))

    def __len__(self) -> int:
        iter(self.loader)  # it has no length before
        return len(self.loader)
