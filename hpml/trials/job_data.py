"""A job's training data, whichever way it is given: by a data module, as loaders, by the module."""

import copy
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.fabric.utilities.data import sized_len

from hpml.errors import UserError
from hpml.trials.copies import alter, nothing
from hpml.trials.intervention import TRANSFER_HOOKS, Intervention
from hpml.trials.loaders import end_workers, one_loader, with_workers_of_its_own


class JobData:
    """Gives each trial a loader of its own, made as Lightning would.

    Args:
        data: a LightningDataModule, a loader, several; None where the module has its own.
        limit: the Trainer's `limit_train_batches`.

    Attributes:
        epoch_steps: training batches; None where only the loader knows, or none was made.
        loader: the last one that was made for itself.

    Raises UserError for an iterator.
    """

    def __init__(self, data: Any, limit: int | float) -> None:
        if hasattr(data, "__next__"):
            raise UserError("the data is an iterator, which gives its batches once; give a loader")
        self.given: Any = copy.copy(data) if isinstance(data, L.LightningDataModule) else data
        self._limit = limit
        self._is_set_up = False
        self.epoch_steps: int | None = None
        self.loader: Any = None

    def new_loader(self, trainer: L.Trainer, module: Any) -> Any:
        """The training loader by itself; the epoch's steps are known from then."""
        if isinstance(self.given, L.LightningDataModule):
            loader = self._data_module(trainer).train_dataloader()
        elif self.given is None:
            module.trainer = trainer
            loader = module.train_dataloader()
        else:
            loader = self.given
        self.loader = one_loader(with_workers_of_its_own(loader))
        if self.epoch_steps is None:
            self.epoch_steps = self._steps_in(self.loader)
        return self.loader

    def for_fit(
        self,
        trainer: L.Trainer,
        module: Any,
        intervention: Intervention,
        paced: Callable[[Any], Any],
    ) -> dict[str, Any]:
        """What `fit` is given besides the module, with its loader paced."""
        if self.given is not None and not isinstance(self.given, L.LightningDataModule):
            return {"train_dataloaders": paced(with_workers_of_its_own(self.given))}
        owner = module if self.given is None else self._data_module(trainer)
        own = type(owner).train_dataloader
        alter(owner, train_dataloader=lambda owner: paced(with_workers_of_its_own(own(owner))))
        if self.given is None:
            return {}
        if intervention.transfer:
            hooks = {hook: getattr(L.LightningDataModule, hook) for hook in TRANSFER_HOOKS}
            alter(owner, **hooks)
        return {"datamodule": owner}

    def close(self) -> None:
        end_workers(self.loader)
        self.given = self.loader = None

    def _data_module(self, trainer: L.Trainer) -> L.LightningDataModule:
        """A copy for one trial; what is set up once stays so for all of them."""
        if not self._is_set_up:
            self.given.trainer = trainer
            self.given.prepare_data()
            self.given.setup("fit")
            self._is_set_up = True
        data: L.LightningDataModule = copy.copy(self.given)
        data.trainer = trainer
        alter(data, prepare_data=nothing, setup=nothing, teardown=nothing)
        return data

    def _steps_in(self, loader: Any) -> int | None:
        limit = self._limit
        steps = sized_len(loader)
        if steps is None:
            return limit if isinstance(limit, int) else None
        if steps == 0:
            raise UserError("the training loader gives no batch")
        if isinstance(limit, int):
            return min(steps, limit)
        if steps * limit < 1:
            raise UserError(
                f"trainer.limit_train_batches={limit}: is less than one of the {steps} batches; "
                "give more"
            )
        return int(steps * limit)
