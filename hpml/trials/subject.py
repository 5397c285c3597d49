"""The job under trial: copies of a Trainer's parts, which short fits may wear out."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from hpml.callbacks.disturbances import witness_of
from hpml.errors import UserError
from hpml.system.stops import Stops
from hpml.system.threads import crowded_in_words, workers_affinity
from hpml.training.build import build_trainer
from hpml.training.prepare import Job
from hpml.trials.copies import alter, copied, preserve_global_state
from hpml.trials.intervention import (
    STEP_HOOKS,
    TRANSFER_HOOKS,
    Intervention,
    Logged,
    Prepared,
    altered,
    computing_with,
    keeping_step,
)
from hpml.trials.job_data import JobData, batches_ahead, end_workers, one_loader, tensors_in
from hpml.trials.pace import Pace, PacedLoader, loading_pace
from hpml.trials.trainer import callbacks_by_name, left_out, trial_trainer

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
PROFILED_STEPS = 6
KEPT_BATCHES = 64
KEPT_BYTES = 256 * 2**20


class Subject:
    """A Trainer, its module and its data; trials on copies leave all three as they are.

    The Trainer may be fitted or not; `data` as for JobData. Raises UserError for a Trainer of
    several devices, or one that would train nothing.
    """

    def __init__(self, trainer: L.Trainer, module: L.LightningModule, data: Any = None) -> None:
        if (devices := trainer.world_size) > 1:
            raise UserError(f"{devices} devices: diagnose one of them; give trainer.devices=1")
        for key in ("max_epochs", "max_steps", "limit_train_batches"):
            if getattr(trainer, key) == 0:
                raise UserError(f"trainer.{key}=0: nothing would be trained; give at least 1")
        self.trainer = trainer
        self.device: torch.device = trainer.strategy.root_device
        self.notes = left_out(trainer, module)  # what the trials do without, and the like
        self.stops = Stops()  # to be entered by who wants them noticed
        self.witness = witness_of(trainer, self.stops)
        self.data = JobData(data, trainer.limit_train_batches)
        with preserve_global_state(data):
            memo = {id(trainer): None, id(getattr(module, "_trainer", None)): None}
            self._module: Any = copied(module, memo)
            self.callbacks = callbacks_by_name(trainer, module, self._module)
        self._weights = {
            name: value.detach().clone()
            for name, value in self._module.state_dict(keep_vars=True).items()
            if isinstance(value, torch.Tensor) and not is_lazy(value)
        }
        self._raw: list[Any] = []  # batches as they are loaded
        self._moved: list[Any] = []  # and as the training step gets them
        self._batches_of = 0  # the round whose first batches they are
        self._changes_batches = False
        self._schedules = False  # whether a scheduler steps
        self._logged: Logged = {}  # in a step
        # Whether the training step fetches its batches itself.
        self._fetches = "dataloader_iter" in inspect.signature(module.training_step).parameters

    @property
    def epoch_steps(self) -> int | None:
        """Training batches of an epoch, once a loader was made; None where only that knows."""
        return self.data.epoch_steps

    @property
    def callback_names(self) -> list[str]:
        """Of the callbacks that can be left out, and `logging` where something is logged."""
        return [*self.callbacks, *(["logging"] if self.trainer.loggers else [])]

    @property
    def has_hooks(self) -> bool:
        """Whether there are callbacks, loggers or hooks in a step."""
        hooks = (*STEP_HOOKS, "configure_callbacks")
        own = any(is_overridden(hook, self._module, L.LightningModule) for hook in hooks)
        return bool(self.callback_names or own or self._schedules)

    @property
    def has_transfer(self) -> bool:
        """Whether a batch's way to the device can cost anything."""
        owners: list[tuple[Any, type]] = [(self._module, L.LightningModule)]
        if self.data.is_module:
            owners.append((self.data.given, L.LightningDataModule))
        own = any(is_overridden(hook, *owner) for hook in TRANSFER_HOOKS for owner in owners)
        return (own or self.device.type != "cpu") and bool(self._moved)

    @property
    def batches_vary(self) -> bool:
        """Whether the batches that are kept differ in shape, so that steps differ in length."""
        return len({tuple(tensor.shape for tensor in tensors_in(b)) for b in self._raw}) > 1

    def close(self) -> None:
        """Lets go of copies, batches and workers, which may hold much of a device's memory."""
        self.data.close()
        self._raw, self._moved, self._module, self.callbacks = [], [], None, {}

    def batches_ahead(self) -> int:
        """How many batches the loader's workers keep ready."""
        with self._loader(0) as loader:
            return batches_ahead(loader)

    def load(self, warm_up: int, measured: int, seed: int) -> Pace:
        with self._loader(seed) as loader:
            paced = PacedLoader(loader, warm_up, measured, self.epoch_steps, look=self._look)
            return loading_pace(paced, batches_ahead(loader))

    def candidates(
        self, interventions: Mapping[str, Intervention], warm_up: int, measured: int
    ) -> dict[str, Callable[[int], Pace]]:
        """A short fit with each intervention, for `hpml.trials.rounds`; a round's number seeds it.

        Batches that differ in shape come from memory as the job's own order has them in the round.
        """

        def fit(intervention: Intervention, number: int) -> Pace:
            from_memory = intervention.loading or intervention.transfer
            if from_memory and number != self._batches_of and self.batches_vary:
                self.keep_batches(measured, number)
            return self.fit(intervention, warm_up, measured, number)

        return {name: partial(fit, each) for name, each in interventions.items()}

    def fit(
        self,
        intervention: Intervention,
        warm_up: int,
        measured: int,
        seed: int,
        adapt: Callable[[Any, Any], object] = lambda trainer, module: None,
    ) -> Pace:
        """A short fit without validation and checkpoints. Raises what the job raises.

        Measured are the steps after the warm-up; `adapt` changes the trial's Trainer and module
        before.
        """
        self._forget_training()
        before = self._versions()
        module = altered(self._module, intervention, self._fetches, self._logged)
        batches = self._raw if intervention.loading else None
        if intervention.transfer and self._moved:
            batches = self._moved
        loaders: list[PacedLoader] = []

        def paced(loader: Any) -> PacedLoader:
            paced = PacedLoader(
                one_loader(loader),
                warm_up,
                measured,
                self.epoch_steps,
                instead=batches,
                copies=self._changes_batches,
                loads=not intervention.loading,
                synchronize=getattr(torch, self.device.type).synchronize,
                look=self._look,
            )
            loaders.append(paced)
            return loaders[0]  # which one fit has, however often it asks

        with self._trial(seed) as folder:
            callbacks = [
                copied(callback, {id(self.trainer): self.trainer})
                for name, callback in self.callbacks.items()
                if not intervention.hooks and name != intervention.without
            ]
            callbacks.append(Prepared(intervention.compute, self._logged))
            is_sized = self.epoch_steps is not None
            trainer: Any = trial_trainer(self.trainer, folder, is_sized, intervention, callbacks)
            adapt(trainer, module)
            data = self.data.for_fit(trainer, module, not intervention.transfer, paced)
            try:
                with computing_with(intervention.threads):
                    trainer.fit(module, **data)
            except Exception:
                # at the end of the epoch, say for want of validation
                if not (loaders and loaders[0].is_over):
                    raise
            finally:
                end_workers(loaders[0].loader if loaders else None)
        self._schedules |= bool(trainer.lr_scheduler_configs)
        if not loaders[0].is_over:
            raise UserError(
                f"the training ends by itself after {loaders[0].fetched} steps; a trial needs "
                f"{loaders[0].steps}"
            )
        if self._versions()[: len(before)] != before and not self._changes_batches:
            self._changes_batches = True
            self.notes.append("the module changes its batches: from memory they come as copies")
            self.keep_batches(len(self._raw), seed)
        return loaders[0].pace

    def profile(self, name: str, folder: Path) -> list[Path]:
        """The files of one of Lightning's profilers, on a few steps of the job as it is."""
        profiler = PROFILERS[name](dirpath=folder, filename=name)

        def attach(trainer: Any, module: Any) -> None:
            trainer.profiler = profiler

        self.fit(Intervention(), 1, PROFILED_STEPS, seed=0, adapt=attach)
        return sorted(folder.glob(f"*{name}*"))

    def keep_batches(self, count: int, seed: int) -> None:
        """Keeps batches for the trials that do without loading or transfer."""
        self._raw, self._moved, self._batches_of = [], [], seed
        room = KEPT_BYTES
        with self._loader(seed) as loader:
            for batch in PacedLoader(loader, 0, min(count, KEPT_BATCHES), self.epoch_steps):
                self._raw.append(batch)
                room -= sum(t.numel() * t.element_size() for t in tensors_in(batch))
                if room < 0:
                    break

        def keep(trainer: Any, module: Any) -> None:
            alter(module, training_step=keeping_step(self._moved, type(module).training_step))

        if not self._fetches:
            self.fit(Intervention(loading=True), 0, len(self._raw), seed, keep)

    def _forget_training(self) -> None:
        """What one trial has learnt, and lost, is not the next one's."""
        with torch.no_grad():
            for name, value in self._module.state_dict(keep_vars=True).items():
                if isinstance(value, torch.Tensor) and name in self._weights:
                    value.copy_(self._weights[name])

    def _versions(self) -> list[int]:
        """Torch counts how often a tensor was written to."""
        return [tensor._version for tensor in tensors_in([*self._raw, *self._moved])]

    @contextmanager
    def _loader(self, seed: int) -> Iterator[Any]:
        with self._trial(seed) as folder:
            trainer = trial_trainer(self.trainer, folder, self.epoch_steps is not None)
            loader = self.data.new_loader(trainer, self._module)
            try:
                yield loader
            finally:
                end_workers(loader)

    def _look(self) -> None:
        """What the workers waited, and where they may run, goes with them."""
        self.witness.look_at_workers()
        if (words := crowded_in_words(workers_affinity())) and words not in self.notes:
            self.notes.append(words)

    @contextmanager
    def _trial(self, seed: int) -> Iterator[Path]:
        """A folder for what a trial writes, which is lost like what it prints."""
        with TemporaryDirectory(prefix="hpml-") as folder, preserve_global_state(self.data.given):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield Path(folder)


def subject_of(job: Job) -> Subject:
    """The subject of a configuration's job: what `hpml.train` would train."""
    return Subject(build_trainer(job.cfg), job.module, job.data)
