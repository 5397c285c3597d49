"""The job under trial: copies of a Trainer's parts, which short fits may wear out."""

import copy
import inspect
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
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
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, Sampler

from hpml.diagnosis.pace import Pace, PacedLoader, loading_pace
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
class Logged:
    """A metric that a step logs, and where to."""

    value: torch.Tensor
    logger: bool
    prog_bar: bool


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
        self.notes: list[str] = []
        if hasattr(data, "__next__"):
            raise UserError("the data is an iterator, which gives its batches once; give a loader")
        with _left_as_it_was(data):
            memo = {id(trainer): None, id(getattr(module, "_trainer", None)): None}
            self._module: Any = _copied(module, memo)
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
        return sum(one.num_workers * (one.prefetch_factor or 0) for one in _data_loaders(loader))

    @property
    def num_workers(self) -> int:
        """Of all loaders, once one was made."""
        return sum(one.num_workers for one in _data_loaders(self.loader))

    def close(self) -> None:
        """Lets go of copies, batches and workers, which may hold much of a device's memory."""
        _end_workers(self.loader)
        self._raw, self._moved, self.loader = [], [], None
        self._module = self._data = None
        self.callbacks = {}

    def load(self, warm_up: int, measured: int, seed: int) -> Pace:
        """The loader alone."""
        with self._trial(seed) as folder:
            module, data = self._module, self._data
            trainer = self._trainer(Change(), {}, folder)
            loader = self._own_loader(trainer, module, data)
            ahead = sum(o.num_workers * (o.prefetch_factor or 0) for o in _data_loaders(loader))
            try:
                paced = PacedLoader(loader, warm_up, measured, self.epoch_steps)
                return loading_pace(paced, ahead)
            finally:
                _end_workers(loader)

    def fit(self, change: Change, warm_up: int, measured: int, seed: int) -> Pace:
        """A short fit without validation and checkpoints. Raises what the job raises."""
        versions = _versions([*self._raw, *self._moved])
        with self._trial(seed) as folder:
            pace = self._fit(change, warm_up, measured, folder)
        if _versions([*self._raw, *self._moved]) != versions and not self._changes_batches:
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
                room -= _bytes_in(batch)
                if room < 0:
                    break
            _end_workers(loader)
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
                    _one_loader(loader),
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
            _alter(module, training_step=_keeping(self._moved, type(module).training_step))
        if change.transfer:
            _alter(module, **dict.fromkeys(TRANSFER_HOOKS, _batch_as_it_is))
        trainer: Any = self._trainer(change, self.callbacks, folder)
        if profiler is not None:
            trainer.profiler = profiler
        if isinstance(data, L.LightningDataModule):
            data = self._data_module(trainer)
            own = type(data).train_dataloader
            hooks = {hook: getattr(L.LightningDataModule, hook) for hook in TRANSFER_HOOKS}
            _alter(data, train_dataloader=lambda data: paced(_with_workers_of_its_own(own(data))))
            if change.transfer:
                _alter(data, **hooks)
            given: dict[str, Any] = {"datamodule": data}
        elif data is None:
            own = type(module).train_dataloader
            _alter(
                module, train_dataloader=lambda module: paced(_with_workers_of_its_own(own(module)))
            )
            given = {}
        else:
            given = {"train_dataloaders": paced(_with_workers_of_its_own(data))}
        try:
            trainer.fit(module, **given)
        except Exception:
            # at the end of the epoch, say for want of validation
            if not (made and made[0].is_over):
                raise
        finally:
            _end_workers(made[0].loader if made else None)
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
        self.loader = _one_loader(_with_workers_of_its_own(loader))
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
        _alter(data, prepare_data=_nothing, setup=_nothing, teardown=_nothing)
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
        _alter(module, configure_callbacks=lambda module: _tried(own(module), change.hooks))
        if change.hooks:
            _alter(module, **_as_in_the_base(module, STEP_HOOKS))
            _alter(module, lr_scheduler_step=_nothing)
        if change.compute:
            manual, fetches = not module.automatic_optimization, self.takes_iterator
            module.register_parameter(_WEIGHT, torch.nn.Parameter(torch.zeros(())))
            vars(module)[_LOGGED] = dict(self._logged)
            _alter(
                module,
                **_as_in_the_base(module, OF_THE_STEP),
                training_step=_fetching_step if fetches else _manual_step if manual else _tiny_step,
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
            _copied(callback, {id(theirs): theirs})
            for name, callback in callbacks.items()
            if name != change.without
        ]
        silent = change.hooks or change.without == "logging"
        kept.append(_Prepared(change.compute, self._logged))
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
            found[name] = _copied(callback, {id(self.trainer): None, id(module): self._module})
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
        with TemporaryDirectory(prefix="hpml-") as folder, _left_as_it_was(self._data):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield Path(folder)


_WEIGHT = "weight_of_the_trial"
_LOGGED = "logged_of_the_trial"


class _Prepared(L.Callback):
    """Has schedulers put up with metrics that only validation logs; stills the optimizers.

    Stilled they hold one parameter and only call their closure: schedulers and hooks go on. What
    a step of the job's own logs is looked up, for the loggers and bars to have where it is free.
    """

    def __init__(self, stilled: bool, logged: dict[str, Logged]) -> None:
        self.stilled = stilled
        self.logged = logged

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            config.strict = False
        if self.stilled:
            weight = pl_module.get_parameter(_WEIGHT)
            trainer.optimizers = [_still(optimizer, weight) for optimizer in trainer.optimizers]

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self.stilled or trainer.fit_loop.total_batch_idx > 0:
            return
        to_logger, in_bar = trainer.logged_metrics, trainer.progress_bar_metrics
        for name, value in trainer.callback_metrics.items():
            logged = Logged(value.clone(), logger=name in to_logger, prog_bar=name in in_bar)
            self.logged[name] = logged


def _still(optimizer: Any, weight: torch.nn.Parameter) -> torch.optim.Optimizer:
    """In place of the user's, which the module may keep for the trials to come."""
    still: Any = torch.optim.SGD([weight], lr=0.0)
    groups = [{**group, "params": []} for group in optimizer.param_groups]
    still.param_groups = groups or still.param_groups
    still.param_groups[0]["params"] = [weight]
    still.step = lambda closure=None, **_: closure and closure()
    return still


def _log(module: Any) -> None:
    for name, one in vars(module)[_LOGGED].items():
        module.log(name, one.value, logger=one.logger, prog_bar=one.prog_bar, on_step=True)


def _tiny_step(module: Any, *_: Any, **__: Any) -> torch.Tensor:
    _log(module)
    loss: torch.Tensor = module.get_parameter(_WEIGHT).square()
    return loss


def _manual_step(module: Any, *_: Any, **__: Any) -> None:
    """Without an optimizer's step, which the module would call itself."""
    _log(module)


def _fetching_step(module: Any, dataloader_iter: Any) -> torch.Tensor:
    next(dataloader_iter)
    return _tiny_step(module)


def _keeping(batches: list[Any], step: Callable[..., Any]) -> Callable[..., Any]:
    def training_step(module: Any, batch: Any, *arguments: Any, **keywords: Any) -> Any:
        batches.append(batch)
        return step(module, batch, *arguments, **keywords)

    # Lightning looks which arguments a step takes
    training_step.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
    return training_step


def _batch_as_it_is(owner: Any, batch: Any, *_: Any, **__: Any) -> Any:
    return batch


def _nothing(*_: Any, **__: Any) -> None:
    """In the place of a hook."""


def _alter(thing: Any, **methods: Any) -> None:
    """Gives one object methods of its own, as those of a class: Lightning looks for them there."""
    methods.setdefault("__reduce_ex__", _as_its_own_class)
    thing.__class__ = type(type(thing).__name__, (type(thing),), methods)


def _as_its_own_class(thing: Any, protocol: int) -> tuple[Any, ...]:
    """Pickled as what it was: a worker that is spawned knows the user's class alone."""
    kind = next(base for base in type(thing).__mro__ if "__reduce_ex__" not in vars(base))
    return _made, (kind, dict(vars(thing)))


def _made(kind: type, state: dict[str, Any]) -> Any:
    thing: Any = object.__new__(kind)
    vars(thing).update(state)
    return thing


def _as_in_the_base(module: Any, hooks: Sequence[str]) -> dict[str, Any]:
    """Lightning's own methods in place of those that the module has overridden."""
    overridden = (hook for hook in hooks if is_overridden(hook, module, L.LightningModule))
    return {hook: getattr(L.LightningModule, hook) for hook in overridden}


def _tried(callbacks: Any, none: bool) -> list[L.Callback]:
    """Those of the module's own callbacks that a trial has."""
    every = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    return [one for one in every if not (none or isinstance(one, NOT_IN_A_TRIAL))]


def _with_workers_of_its_own(data: Any) -> Any:
    """Loaders that share all but the processes that persist in the user's."""
    if isinstance(data, Mapping):
        return {key: _with_workers_of_its_own(loader) for key, loader in data.items()}
    if isinstance(data, list | tuple):
        return [_with_workers_of_its_own(loader) for loader in data]
    if isinstance(data, CombinedLoader):
        return CombinedLoader(_with_workers_of_its_own(data.iterables), data._mode)
    if not isinstance(data, DataLoader):
        return data
    loader = copy.copy(data)
    loader._iterator = None
    return loader


def _data_loaders(data: Any) -> Iterator[DataLoader[Any]]:
    """torch's loaders among a job's, wherever they are."""
    if isinstance(data, DataLoader):
        yield data
    elif isinstance(data, _Combined):
        yield from _data_loaders(data.loader.flattened)
    elif isinstance(data, list):
        for one in data:
            yield from _data_loaders(one)


def _end_workers(data: Any) -> None:
    """Those that persist would still load when the next trial has begun."""
    for loader in _data_loaders(data):
        iterator: Any = loader._iterator
        loader._iterator = None
        if iterator is not None:
            iterator._shutdown_workers()


def _one_loader(data: Any) -> Any:
    """A loader as it is; several as Lightning combines them, without its numbers beside a batch."""
    if isinstance(data, Mapping | list | tuple):
        data = CombinedLoader(data, "max_size_cycle")
    return _Combined(data) if isinstance(data, CombinedLoader) else data


class _Combined:
    def __init__(self, loader: CombinedLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, _, _ in iter(self.loader))

    def __len__(self) -> int:
        iter(self.loader)  # it has no length before
        return len(self.loader)


def _copied(thing: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; parts that cannot be copied, a lock or an open file, are shared with it."""
    compiled = [getattr(part, "_compiled_call_impl", None) is not None for part in _modules(thing)]
    try:
        copied = copy.deepcopy(thing, dict(memo))
    except Exception:
        for part in [thing, *_modules(thing)]:
            for value in getattr(part, "__dict__", {}).values():
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:
                    for one in value if isinstance(value, list) else [value]:
                        is_tensor = isinstance(one, torch.Tensor)
                        memo[id(one)] = one.detach().clone() if is_tensor else one
        copied = copy.deepcopy(thing, memo)
    for part, is_compiled in zip(_modules(copied), compiled, strict=True):
        if is_compiled:
            part.compile()
    return copied


def _modules(thing: Any) -> list[torch.nn.Module]:
    return list(thing.modules()) if isinstance(thing, torch.nn.Module) else []


def _tensors_in(thing: Any) -> Iterator[torch.Tensor]:
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        yield from _tensors_in(list(thing.values()))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from _tensors_in(part)


def _bytes_in(batch: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors_in(batch))


def _versions(batches: Sequence[Any]) -> list[int]:
    """Torch counts how often a tensor was written to."""
    return [tensor._version for tensor in _tensors_in(list(batches))]


# What holds random states of its own, and how many parts a list of such may have.
_HOLDERS = (L.LightningDataModule, DataLoader, Dataset, Sampler, CombinedLoader)
_MOST_PARTS = 64


def _resets(thing: Any, seen: set[int]) -> Iterator[Callable[[], Any]]:
    """Bring the random states back that loaders, samplers and data sets keep themselves."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Generator):
        yield partial(thing.set_state, thing.get_state())
    elif isinstance(thing, random.Random):
        yield partial(thing.setstate, thing.getstate())
    elif isinstance(thing, np.random.RandomState):
        yield partial(thing.set_state, thing.get_state())
    elif isinstance(thing, np.random.Generator):
        yield partial(setattr, thing.bit_generator, "state", thing.bit_generator.state)
    elif isinstance(thing, Mapping | list | tuple) and len(thing) <= _MOST_PARTS:
        for part in list(thing.values()) if isinstance(thing, Mapping) else thing:
            yield from _resets(part, seen)
    elif isinstance(thing, _HOLDERS):
        for part in list(vars(thing).values()):
            yield from _resets(part, seen)


@contextmanager
def _left_as_it_was(data: Any) -> Iterator[None]:
    """Restores the random state, and hides what is printed, logged and warned meanwhile."""
    disabled = logging.root.manager.disable
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    of_mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    resets = list(_resets(data, set()))
    with (
        Path(os.devnull).open("w", encoding="utf-8", errors="replace") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            torch.cuda.set_rng_state_all(of_gpus)
            if of_mps is not None:
                torch.mps.set_rng_state(of_mps)
            for reset in resets:
                reset()
