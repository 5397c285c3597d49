"""The job under trial: copies of a Trainer's parts, which short fits may wear out."""

import copy
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.profilers import (
    AdvancedProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from hpml.errors import UserError
from hpml.trials.copies import alter, copied, nothing, preserve_global_state
from hpml.trials.intervention import STEP_HOOKS, TRANSFER_HOOKS, Intervention, altered
from hpml.trials.loaders import (
    bytes_in,
    data_loaders,
    end_workers,
    one_loader,
    shapes,
    versions,
    with_workers_of_its_own,
)
from hpml.trials.pace import Pace, PacedLoader, loading_pace
from hpml.trials.stubs import Logged, Prepared, keeping_step
from hpml.trials.trainer import callbacks_by_name, left_out, trial_trainer

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
PROFILED_STEPS = 6
KEPT_BATCHES = 64
KEPT_BYTES = 256 * 2**20


class Subject:
    """A Trainer, its module and its data; trials on copies leave all three as they are.

    Args:
        trainer: fitted or not.
        module: any.
        data: a LightningDataModule, a loader, several; None where the module has its own.

    Raises UserError for a Trainer of several devices, or one that would train nothing.
    """

    def __init__(self, trainer: L.Trainer, module: L.LightningModule, data: Any = None) -> None:
        if trainer.world_size > 1:
            raise UserError(
                f"{trainer.world_size} devices: diagnose one of them; give trainer.devices=1"
            )
        for key in ("max_epochs", "max_steps", "limit_train_batches"):
            if getattr(trainer, key) == 0:
                raise UserError(f"trainer.{key}=0: nothing would be trained; give at least 1")
        self.trainer = trainer
        self.device: torch.device = trainer.strategy.root_device
        self.notes = left_out(trainer, module)
        if hasattr(data, "__next__"):
            raise UserError("the data is an iterator, which gives its batches once; give a loader")
        with preserve_global_state(data):
            memo = {id(trainer): None, id(getattr(module, "_trainer", None)): None}
            self._module: Any = copied(module, memo)
            self._data: Any = data
            if isinstance(data, L.LightningDataModule):
                self._data = copy.copy(data)
            self.callbacks = callbacks_by_name(trainer, module, self._module)
        self._weights = {
            name: value.detach().clone()
            for name, value in self._module.state_dict(keep_vars=True).items()
            if isinstance(value, torch.Tensor) and not is_lazy(value)
        }
        self._raw: list[Any] = []  # batches as they are loaded
        self._moved: list[Any] = []  # and as the training step gets them
        self._changes_batches = False
        self.epoch_steps: int | None = None
        self.loader: Any = None  # the last one that was made
        self._is_set_up = False
        self._schedules = False  # whether a scheduler steps
        self._logged: dict[str, Logged] = {}  # in a step

    @property
    def callback_names(self) -> list[str]:
        """Of the callbacks that can be left out, and `logging` where something is logged."""
        names = list(self.callbacks)
        return [*names, "logging"] if self.trainer.loggers else names

    @property
    def has_hooks(self) -> bool:
        """Whether there are callbacks, loggers or hooks in a step."""
        own = any(is_overridden(hook, self._module, L.LightningModule) for hook in STEP_HOOKS)
        brought = is_overridden("configure_callbacks", self._module, L.LightningModule)
        return bool(self.callback_names or own or brought or self._schedules)

    @property
    def has_transfer(self) -> bool:
        """Whether a batch's way to the device can cost anything."""
        owners: list[tuple[Any, type]] = [(self._module, L.LightningModule)]
        if isinstance(self._data, L.LightningDataModule):
            owners.append((self._data, L.LightningDataModule))
        theirs = any(is_overridden(hook, *owner) for hook in TRANSFER_HOOKS for owner in owners)
        return (theirs or self.device.type != "cpu") and bool(self._moved)

    @property
    def takes_iterator(self) -> bool:
        """Whether the training step fetches its batches itself."""
        return "dataloader_iter" in inspect.signature(self._module.training_step).parameters

    def batches_ahead(self) -> int:
        """How many batches the loader's workers keep ready."""
        with self._trial(0) as folder:
            loader = self._own_loader(self._bare_trainer(folder), self._module, self._data)
        return sum(one.num_workers * (one.prefetch_factor or 0) for one in data_loaders(loader))

    @property
    def num_workers(self) -> int:
        """Of all loaders, once one was made."""
        return sum(one.num_workers for one in data_loaders(self.loader))

    @property
    def batches_vary(self) -> bool:
        """Whether the batches that are kept differ in shape, so that steps differ in length."""
        return len({tuple(shapes(batch)) for batch in self._raw}) > 1

    def close(self) -> None:
        """Lets go of copies, batches and workers, which may hold much of a device's memory."""
        end_workers(self.loader)
        self._raw, self._moved, self.loader = [], [], None
        self._module = self._data = None
        self.callbacks = {}

    def load(self, warm_up: int, measured: int, seed: int) -> Pace:
        """The loader alone."""
        with self._trial(seed) as folder:
            module, data = self._module, self._data
            trainer = self._bare_trainer(folder)
            loader = self._own_loader(trainer, module, data)
            ahead = sum(o.num_workers * (o.prefetch_factor or 0) for o in data_loaders(loader))
            try:
                paced = PacedLoader(loader, warm_up, measured, self.epoch_steps)
                return loading_pace(paced, ahead)
            finally:
                end_workers(loader)

    def fit(
        self,
        change: Intervention,
        warm_up: int,
        measured: int,
        seed: int,
        begins: Callable[[], object] | None = None,
    ) -> Pace:
        """A short fit without validation and checkpoints. Raises what the job raises.

        Args:
            change: what it does without.
            warm_up: steps before those that are measured.
            measured: steps.
            seed: of the random states.
            begins: called before the first step, after what the job does once.
        """
        before = versions([*self._raw, *self._moved])
        with self._trial(seed) as folder:
            pace = self._fit(change, warm_up, measured, folder, begins=begins)
        if versions([*self._raw, *self._moved]) != before and not self._changes_batches:
            self._changes_batches = True
            self.notes.append("the module changes its batches: from memory they come as copies")
            self.keep_batches(len(self._raw), seed)
        return pace

    def profile(self, name: str, folder: Path) -> list[Path]:
        """The files of one of Lightning's profilers, on a few steps of the job as it is."""
        profiler = PROFILERS[name](dirpath=folder, filename=name)
        with self._trial(0) as elsewhere:
            self._fit(Intervention(), 1, PROFILED_STEPS, elsewhere, profiler=profiler)
        return sorted(folder.glob(f"*{name}*"))

    def keep_batches(self, count: int, seed: int) -> None:
        """Keeps batches for the trials that do without loading or transfer."""
        self._raw, self._moved = [], []
        with self._trial(seed) as folder:
            trainer = self._bare_trainer(folder)
            loader = self._own_loader(trainer, self._module, self._data)
            paced = PacedLoader(loader, 0, min(count, KEPT_BATCHES), self.epoch_steps)
            room = KEPT_BYTES
            for batch in paced:
                self._raw.append(batch)
                room -= bytes_in(batch)
                if room < 0:
                    break
            end_workers(loader)
        if not self.takes_iterator:
            with self._trial(seed) as folder:
                self._fit(Intervention(loading=True), 0, len(self._raw), folder, keeping=True)

    def _fit(
        self,
        change: Intervention,
        warm_up: int,
        measured: int,
        folder: Path,
        keeping: bool = False,
        profiler: Profiler | None = None,
        begins: Callable[[], object] | None = None,
    ) -> Pace:
        """One trial; `keeping` the batches that reach the training step."""
        self._forget_training()
        module = altered(self._module, change, self.takes_iterator, self._logged)
        made: list[PacedLoader] = []

        def paced(loader: Any) -> PacedLoader:
            instead = self._raw if change.loading else None
            if change.transfer and self._moved:
                instead = self._moved
            made.append(
                PacedLoader(
                    one_loader(loader),
                    warm_up,
                    measured,
                    self.epoch_steps,
                    None if instead is None else [self._giving(batch) for batch in instead],
                    not change.loading,
                    self._synchronize,
                )
            )
            made[0].sized = self.epoch_steps is not None
            return made[0]

        if keeping:
            alter(module, training_step=keeping_step(self._moved, type(module).training_step))
        trainer: Any = self._trainer(change, folder, begins)
        if profiler is not None:
            trainer.profiler = profiler
        try:
            trainer.fit(module, **self._data_for(trainer, module, change, paced))
        except Exception:
            # at the end of the epoch, say for want of validation
            if not (made and made[0].is_over):
                raise
        finally:
            end_workers(made[0].loader if made else None)
        self._schedules |= bool(trainer.lr_scheduler_configs)
        if not made[0].is_over:
            raise UserError(
                f"the training ends by itself after {made[0].fetched} steps; a trial needs "
                f"{made[0].steps}"
            )
        return made[0].pace

    def _data_for(
        self,
        trainer: L.Trainer,
        module: Any,
        change: Intervention,
        paced: Callable[[Any], PacedLoader],
    ) -> dict[str, Any]:
        """What `fit` is given besides the module, with its loader paced."""
        if isinstance(self._data, L.LightningDataModule):
            data = self._data_module(trainer)
            own = type(data).train_dataloader
            alter(data, train_dataloader=lambda data: paced(with_workers_of_its_own(own(data))))
            if change.transfer:
                hooks = {hook: getattr(L.LightningDataModule, hook) for hook in TRANSFER_HOOKS}
                alter(data, **hooks)
            return {"datamodule": data}
        if self._data is None:
            own = type(module).train_dataloader
            alter(
                module, train_dataloader=lambda module: paced(with_workers_of_its_own(own(module)))
            )
            return {}
        return {"train_dataloaders": paced(with_workers_of_its_own(self._data))}

    def _own_loader(self, trainer: L.Trainer, module: Any, data: Any) -> Any:
        """The training loader, made as Lightning would; the epoch's steps are known from then."""
        if isinstance(data, L.LightningDataModule):
            loader = self._data_module(trainer).train_dataloader()
        elif data is None:
            module.trainer = trainer
            loader = module.train_dataloader()
        else:
            loader = data
        self.loader = one_loader(with_workers_of_its_own(loader))
        if self.epoch_steps is None:
            self.epoch_steps = self._steps_in(self.loader)
        return self.loader

    def _steps_in(self, loader: Any) -> int | None:
        limit = self.trainer.limit_train_batches
        try:
            steps = len(loader)
        except (TypeError, NotImplementedError):
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

    def _data_module(self, trainer: L.Trainer) -> L.LightningDataModule:
        """A copy for one trial; what is set up once stays so for all of them."""
        if not self._is_set_up:
            self._data.trainer = trainer
            self._data.prepare_data()
            self._data.setup("fit")
            self._is_set_up = True
        data: L.LightningDataModule = copy.copy(self._data)
        data.trainer = trainer
        alter(data, prepare_data=nothing, setup=nothing, teardown=nothing)
        return data

    def _forget_training(self) -> None:
        """What one trial has learnt, and lost, is not the next one's."""
        with torch.no_grad():
            for name, value in self._module.state_dict(keep_vars=True).items():
                if isinstance(value, torch.Tensor) and name in self._weights:
                    value.copy_(self._weights[name])

    def _trainer(
        self, change: Intervention, folder: Path, begins: Callable[[], object] | None
    ) -> L.Trainer:
        callbacks = [
            copied(callback, {id(self.trainer): self.trainer})
            for name, callback in self.callbacks.items()
            if not change.hooks and name != change.without
        ]
        callbacks.append(Prepared(change.compute, self._logged, begins))
        is_sized = self.epoch_steps is not None
        return trial_trainer(self.trainer, change, callbacks, folder, is_sized)

    def _bare_trainer(self, folder: Path) -> L.Trainer:
        """For a loader that asks for it."""
        return trial_trainer(self.trainer, Intervention(), [], folder, self.epoch_steps is not None)

    def _giving(self, batch: Any) -> Callable[[], Any]:
        return (lambda: copy.deepcopy(batch)) if self._changes_batches else (lambda: batch)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    @contextmanager
    def _trial(self, seed: int) -> Iterator[Path]:
        """A folder for what a trial writes, which is lost like what it prints."""
        with TemporaryDirectory(prefix="hpml-") as folder, preserve_global_state(self._data):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield Path(folder)
