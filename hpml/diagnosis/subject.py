"""The job under trial: copies of a Trainer's parts, which short fits may wear out."""

import copy
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    LearningRateFinder,
    ModelSummary,
    ProgressBar,
    Timer,
)
from lightning.pytorch.callbacks.batch_size_finder import BatchSizeFinder
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import (
    AdvancedProfiler,
    PassThroughProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from hpml.diagnosis.copies import (
    alter,
    as_in_the_base,
    copied,
    has_compiled,
    left_as_it_was,
    nothing,
)
from hpml.diagnosis.loaders import (
    bytes_in,
    data_loaders,
    end_workers,
    one_loader,
    shapes,
    versions,
    with_workers_of_its_own,
)
from hpml.diagnosis.pace import Pace, PacedLoader, loading_pace
from hpml.diagnosis.stand_ins import (
    LOGGED,
    WEIGHT,
    Logged,
    Prepared,
    batch_as_it_is,
    fetching_step,
    keeping_step,
    manual_step,
    tiny_step,
)
from hpml.errors import UserError

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
# The module's hooks in each step, and what would take gradients and optimizer somewhere else.
STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward"),
    *("on_before_zero_grad", "on_before_optimizer_step"),
)
OF_THE_STEP = (
    *("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping"),
)
# Lightning's callbacks that search on their own, save, stop, or need what a trial has not.
NOT_IN_A_TRIAL = (
    *(Checkpoint, ModelSummary, LearningRateFinder, BatchSizeFinder),
    *(EarlyStopping, Timer),
)
# The loggers that can write elsewhere; what others log goes to a server.
LOCAL_LOGGERS = (CSVLogger, TensorBoardLogger)
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
PROFILED_STEPS = 6
NEVER = 10**9  # steps
KEPT_BATCHES = 64
KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Change:
    """What a trial takes out of the job.

    Attributes:
        loading: the batches come from memory.
        transfer: and as the training step gets them, without the hooks of the transfer.
        compute: the training step has one parameter and no input.
        hooks: no callbacks, no loggers, no hooks of the module within a step.
        without: the callback of this name; `logging` for the loggers.
    """

    loading: bool = False
    transfer: bool = False
    compute: bool = False
    hooks: bool = False
    without: str | None = None


class Subject:
    """A Trainer, its module and its data; trials on copies leave all three as they are.

    Args:
        trainer: fitted or not. Raises UserError for one of several devices.
        module: any.
        data: a LightningDataModule, a loader, several; None where the module has its own.
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
        self.notes = _left_out(trainer, module)
        if hasattr(data, "__next__"):
            raise UserError("the data is an iterator, which gives its batches once; give a loader")
        with left_as_it_was(data):
            memo = {id(trainer): None, id(getattr(module, "_trainer", None)): None}
            self._module: Any = copied(module, memo)
            self._data: Any = data
            if isinstance(data, L.LightningDataModule):
                self._data = copy.copy(data)
            self.callbacks = self._callbacks(module)
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
            loader = self._own_loader(self._trainer(Change(), {}, folder), self._module, self._data)
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
            trainer = self._trainer(Change(), {}, folder)
            loader = self._own_loader(trainer, module, data)
            ahead = sum(o.num_workers * (o.prefetch_factor or 0) for o in data_loaders(loader))
            try:
                paced = PacedLoader(loader, warm_up, measured, self.epoch_steps)
                return loading_pace(paced, ahead)
            finally:
                end_workers(loader)

    def fit(self, change: Change, warm_up: int, measured: int, seed: int) -> Pace:
        """A short fit without validation and checkpoints. Raises what the job raises."""
        before = versions([*self._raw, *self._moved])
        with self._trial(seed) as folder:
            pace = self._fit(change, warm_up, measured, folder)
        if versions([*self._raw, *self._moved]) != before and not self._changes_batches:
            self._changes_batches = True
            self.notes.append("the module changes its batches: from memory they come as copies")
            self.keep_batches(len(self._raw), seed)
        return pace

    def profile(self, name: str, folder: Path) -> list[Path]:
        """The files of one of Lightning's profilers, on a few steps of the job as it is."""
        profiler = PROFILERS[name](dirpath=folder, filename=name)
        with self._trial(0) as elsewhere:
            self._fit(Change(), 1, PROFILED_STEPS, elsewhere, profiler=profiler)
        return sorted(folder.glob(f"*{name}*"))

    def keep_batches(self, count: int, seed: int) -> None:
        """Keeps batches for the trials that do without loading or transfer."""
        self._raw, self._moved = [], []
        with self._trial(seed) as folder:
            trainer = self._trainer(Change(), {}, folder)
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
                self._fit(Change(loading=True), 0, len(self._raw), folder, keeping=True)

    def _fit(
        self,
        change: Change,
        warm_up: int,
        measured: int,
        folder: Path,
        keeping: bool = False,
        profiler: Profiler | None = None,
    ) -> Pace:
        """One trial; `keeping` the batches that reach the training step."""
        module, data = self._altered(change), self._data
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
        if change.transfer:
            alter(module, **dict.fromkeys(TRANSFER_HOOKS, batch_as_it_is))
        trainer: Any = self._trainer(change, self.callbacks, folder)
        if profiler is not None:
            trainer.profiler = profiler
        if isinstance(data, L.LightningDataModule):
            data = self._data_module(trainer)
            own = type(data).train_dataloader
            hooks = {hook: getattr(L.LightningDataModule, hook) for hook in TRANSFER_HOOKS}
            alter(data, train_dataloader=lambda data: paced(with_workers_of_its_own(own(data))))
            if change.transfer:
                alter(data, **hooks)
            given: dict[str, Any] = {"datamodule": data}
        elif data is None:
            own = type(module).train_dataloader
            alter(
                module, train_dataloader=lambda module: paced(with_workers_of_its_own(own(module)))
            )
            given = {}
        else:
            given = {"train_dataloaders": paced(with_workers_of_its_own(data))}
        try:
            trainer.fit(module, **given)
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

    def _altered(self, change: Change) -> Any:
        """The module without what a trial does without: a copy that shares all of its parts."""
        with torch.no_grad():  # what one trial has learnt, and lost, is not the next one's
            for name, value in self._module.state_dict(keep_vars=True).items():
                if isinstance(value, torch.Tensor) and name in self._weights:
                    value.copy_(self._weights[name])
        module = copy.copy(self._module)
        module.__dict__ = {
            key: dict(value) if key in ("_parameters", "_buffers", "_modules") else value
            for key, value in vars(self._module).items()
        }
        own = type(module).configure_callbacks
        alter(module, configure_callbacks=lambda module: _tried(own(module), change.hooks))
        if change.hooks:
            alter(module, **as_in_the_base(module, STEP_HOOKS))
            alter(module, lr_scheduler_step=nothing)
        if change.compute:
            manual, fetches = not module.automatic_optimization, self.takes_iterator
            module.register_parameter(WEIGHT, torch.nn.Parameter(torch.zeros(())))
            vars(module)[LOGGED] = dict(self._logged)
            alter(
                module,
                **as_in_the_base(module, OF_THE_STEP),
                training_step=fetching_step if fetches else manual_step if manual else tiny_step,
            )
        return module

    def _trainer(
        self, change: Change, callbacks: Mapping[str, L.Callback], folder: Path
    ) -> L.Trainer:
        """One like the user's, on the same device, for a single short epoch."""
        theirs: Any = self.trainer
        if change.hooks:
            callbacks = {}
        kept = [
            copied(callback, {id(theirs): theirs})
            for name, callback in callbacks.items()
            if name != change.without
        ]
        silent = change.hooks or change.without == "logging"
        kept.append(Prepared(change.compute, self._logged))
        device = self.device
        unsized = self.epoch_steps is None
        return L.Trainer(
            accelerator=device.type if device.type != "cuda" else "gpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            plugins=[copy.deepcopy(theirs.precision_plugin)],
            max_epochs=1,
            min_steps=NEVER,  # else a callback may stop it
            # schedulers ask how many steps there will be
            max_steps=max(theirs.max_steps, NEVER) if unsized and theirs.max_steps > 0 else -1,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=NEVER if silent else theirs.log_every_n_steps,
            accumulate_grad_batches=theirs.accumulate_grad_batches,
            gradient_clip_val=theirs.gradient_clip_val,
            gradient_clip_algorithm=theirs.gradient_clip_algorithm,
            detect_anomaly=theirs._detect_anomaly,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in kept),
            default_root_dir=folder,
            callbacks=kept,
            logger=self._loggers(folder, silent),
        )

    def _callbacks(self, module: L.LightningModule) -> dict[str, L.Callback]:
        """Copies of the user's callbacks, by name; those of a trial's own are left out."""
        found: dict[str, L.Callback] = {}
        every: list[Any] = [*self.trainer.callbacks]  # type: ignore[attr-defined]
        for callback in every:
            ours = type(callback).__module__.startswith("hpml.callbacks.")
            drawn = ours and isinstance(callback, ProgressBar)
            if isinstance(callback, NOT_IN_A_TRIAL) or (ours and not drawn):
                continue
            name = type(callback).__name__
            if name in found:
                name = f"{name} ({sum(other.startswith(name) for other in found) + 1})"
            found[name] = copied(callback, {id(self.trainer): None, id(module): self._module})
        return found

    def _loggers(self, folder: Path, silent: bool) -> list[Any]:
        """As many as the user's, for modules and callbacks that ask for theirs."""
        loggers: list[Any] = []
        for logger in self.trainer.loggers:
            if silent:
                loggers.append(DummyLogger())
            elif type(logger) in LOCAL_LOGGERS:
                loggers.append(type(logger)(folder / f"logger-{len(loggers)}"))  # type: ignore[call-arg]
            else:
                loggers.append(DummyLogger())
                note = f"nothing was sent to {type(logger).__name__}: its cost is left out"
                if note not in self.notes:
                    self.notes.append(note)
        return loggers

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
        with TemporaryDirectory(prefix="hpml-") as folder, left_as_it_was(self._data):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield Path(folder)


def _left_out(trainer: Any, module: L.LightningModule) -> list[str]:
    """What the trials do without from the beginning."""
    notes = []
    ours = type(trainer.profiler).__module__.startswith("hpml.")
    if not (ours or isinstance(trainer.profiler, PassThroughProfiler)):
        name = type(trainer.profiler).__name__
        notes.append(f"the trials run without {name}: its cost is left out")
    if has_compiled(module):
        notes.append("what is compiled is compiled anew, in torch's default mode")
    return notes


def _tried(callbacks: Any, none: bool) -> list[L.Callback]:
    """Those of the module's own callbacks that a trial has."""
    every = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    return [one for one in every if not (none or isinstance(one, NOT_IN_A_TRIAL))]
