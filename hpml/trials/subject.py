"""The job under trial: copies of a Trainer's parts, which short fits may wear out."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from hpml.callbacks.batch_size import TRANSFER_HOOKS
from hpml.callbacks.epoch_interference import witness_of
from hpml.errors import UserError
from hpml.loading.global_state import preserve_global_state, seeded_folder
from hpml.system.lightning_packages import twin_for
from hpml.system.suspensions import Suspensions
from hpml.training.build import build_trainer
from hpml.training.prepare import Job
from hpml.trials.agreement import Agreement
from hpml.trials.batch_contents import copy_of, share_memory
from hpml.trials.checks import check_given, check_trainer
from hpml.trials.intervention import (
    STEP_HOOKS,
    Intervention,
    Logged,
    altered,
    computing_with,
    interrupts_raised,
    preparation,
)
from hpml.trials.job_data import JobData, changed, end_workers, one_loader
from hpml.trials.job_loader import JobLoader
from hpml.trials.kept_batches import MOST_BATCHES, ChangedError, KeptBatches, Look
from hpml.trials.module_copies import copied, copied_module, preserve_attributes, uncompiled
from hpml.trials.pace import Pace, PacedLoader, Pauses, joint
from hpml.trials.settings import rates_of, ways_of
from hpml.trials.trainer import callbacks_by_name, left_out, trial_trainer


class Subject(JobLoader):
    """A Trainer, its module and its data; trials on copies leave all three as they are.

    The Trainer may be fitted or not; the module compiled or not; `data` as for JobData. Ranks of
    several devices try all in step: `agree` makes what they decide by. Raises UserError for several
    devices without, for a Trainer that would train nothing, and for arguments of other kinds.
    """

    def __init__(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        data: Any = None,
        agree: Callable[[L.Trainer], Agreement] | None = None,
    ) -> None:
        check_given(trainer, module, data)
        check_trainer(trainer, agree is not None)
        self.agreement = agree(trainer) if agree else Agreement()
        self.trainer = trainer
        self.device: torch.device = trainer.strategy.root_device
        self.notes = left_out(trainer, uncompiled(module))
        self.stops = Suspensions()  # to be entered by who wants them noticed
        self.witness = witness_of(trainer, self.stops)
        self.data = JobData(data, trainer.limit_train_batches)
        with preserve_global_state(data):
            memo = {id(trainer): None, id(getattr(module, "_trainer", None)): None}
            self._module: Any = copied_module(module, memo)
            module = uncompiled(module)
            self.callbacks = callbacks_by_name(trainer, module, self._module)
        self._weights = {
            name: value.detach().clone()
            for name, value in self._module.state_dict(keep_vars=True).items()
            if isinstance(value, torch.Tensor) and not is_lazy(value)
        }
        self._raw = KeptBatches()  # as they are loaded
        self._moved = KeptBatches()  # and as the training step gets them
        self._batches_of = 0  # the round whose first batches they are
        self._writes_into_data = False  # a step, where the data's own memory is its batch
        self._schedules = False  # whether a scheduler steps
        self.waits_for_plateau = False  # whether one of them does so by a metric
        self.learning_rates: tuple[float, ...] = ()  # once a fit was tried
        self.optimizer_kinds: tuple[type, ...] = ()  # once a fit was tried
        self.optimizer_ways: frozenset[str] = frozenset()  # how all of their steps are computed
        self._logged: Logged = {}  # in a step
        self._compiled: dict[tuple[str, str], Any] = {}  # parts of the module, by mode
        # Whether the training step fetches its batches itself.
        self._fetches = "dataloader_iter" in inspect.signature(module.training_step).parameters

    @property
    def callback_names(self) -> list[str]:
        """Of the callbacks that can be left out, and `logging` where something is logged."""
        return [*self.callbacks, *(["logging"] if self.trainer.loggers else [])]

    @property
    def has_hooks(self) -> bool:
        """Whether there are callbacks, loggers or hooks in a step."""
        hooks = (*STEP_HOOKS, "configure_callbacks")
        base = twin_for(self._module, L.LightningModule)
        own = any(is_overridden(hook, self._module, base) for hook in hooks)
        return bool(self.callback_names or own or self._schedules)

    @property
    def has_transfer(self) -> bool:
        """Whether a batch's way to the device can cost anything."""
        owners: dict[Any, type] = {self._module: L.LightningModule}
        if self.data.is_module:
            owners[self.data.given] = L.LightningDataModule
        own = any(
            is_overridden(hook, owner, twin_for(owner, base))
            for hook in TRANSFER_HOOKS
            for owner, base in owners.items()
        )
        return (own or self.device.type != "cpu") and bool(self._moved.batches)

    def close(self) -> None:
        """Lets go of copies, batches and workers, which may hold much of a device's memory."""
        self.data.close()
        self._raw, self._moved = KeptBatches(), KeptBatches()
        self._module, self.callbacks, self._compiled = None, {}, {}

    def keep_batches_of(self, number: int, count: int) -> None:
        """Keeps the first batches of a round's own order, where they differ in shape."""
        if number != self._batches_of and self.agreement.any(self._raw.vary):
            self.keep_batches(count, number)

    def fit(
        self,
        intervention: Intervention,
        warm_up: int,
        measured: int,
        seed: int,
        adapt: Callable[[Any, Any], object] = lambda trainer, module: None,
        pauses: Pauses | None = None,
    ) -> Pace:
        """A short fit without validation and checkpoints. Raises what the job raises.

        Measured are the steps after the warm-up; `adapt` changes the trial's Trainer and module
        before. Several ranks call this together, and get the same.
        """

        def tried() -> tuple[Pace, list[float]] | None:
            with suppress(ChangedError):  # which comes as copies from now on
                paced = self._fit(intervention, warm_up, measured, seed, adapt, pauses=pauses)
                return paced.pace, paced.own_s
            return None

        while True:
            found = [each for each in self.tried(tried) if each is not None]
            if len(found) == self.agreement.ranks:
                return joint(*zip(*found, strict=True))
            self.keep_batches(len(self._raw.batches), seed)

    def _fit(
        self,
        intervention: Intervention,
        warm_up: int,
        measured: int,
        seed: int,
        adapt: Callable[[Any, Any], object],
        look: Look | None = None,
        pauses: Pauses | None = None,
    ) -> PacedLoader:
        self._forget_training()
        kept = self._raw if intervention.loading else KeptBatches()
        if intervention.transfer and self._moved.batches:
            kept = self._moved
        versions = kept.versions
        loaders: list[PacedLoader] = []
        ranks = self.agreement.ranks

        def paced(loader: Any) -> PacedLoader:
            loader = one_loader(changed(loader, intervention.settings))
            paced = PacedLoader(
                loader,
                warm_up,
                measured,
                self.epoch_steps,
                instead=kept.batches or None,
                renew=look.renew if look else kept.renewal(loader),
                copy=copy_of if self._writes_into_data and not kept.batches else None,
                loads=not intervention.loading,
                synchronize=getattr(torch, self.device.type).synchronize,
                pauses=pauses,
                look=self._look,
                meet=self.agreement.meet if ranks > 1 and intervention.communication else None,
            )
            loaders.append(paced)
            return loaders[0]  # which one fit has, however often it asks

        with seeded_folder(seed, self.data.given) as folder, preserve_attributes(self._module):
            module = altered(self._module, intervention, self._fetches, self._logged, ranks)
            trainer = self._trainer(folder, intervention)
            adapt(trainer, module)
            data = self.data.for_fit(trainer, module, not intervention.transfer, paced)
            try:
                with (
                    computing_with(intervention.threads),
                    self.with_settings(intervention),
                    interrupts_raised(),
                ):
                    trainer.fit(module, **data)
            except Exception as error:
                if not (loaders and loaders[0].is_over):
                    kept.check(versions)
                    raise
                self.agreement.pass_over(error)  # of the epoch's end, say for want of validation
            finally:
                end_workers(loaders[0].loader if loaders else None)
        self._schedules |= bool(trainer.lr_scheduler_configs)
        self.waits_for_plateau |= any(s.reduce_on_plateau for s in trainer.lr_scheduler_configs)
        if not intervention.compute and intervention.settings.optimizer is None:
            self.optimizer_kinds = tuple(map(type, trainer.optimizers))
            self.optimizer_ways = ways_of(trainer.optimizers)
            self.learning_rates = rates_of(trainer.optimizers)
        kept.check(versions)
        if not loaders[0].is_over:
            raise UserError(
                f"the training ends by itself after {loaders[0].fetched} steps; a trial needs "
                f"{loaders[0].steps}"
            )
        return loaders[0]

    def _trainer(self, folder: Path, intervention: Intervention) -> Any:
        kept = [name for name in self.callbacks if name != intervention.without]
        kept = [] if intervention.hooks else kept
        memo = {id(self.trainer): self.trainer}
        callbacks = [copied(self.callbacks[name], dict(memo)) for name in kept]
        for name, callback in zip(kept, callbacks, strict=True):
            if name in intervention.settings.rests:
                intervention.settings.rest(callback)
        callbacks.append(preparation(self.trainer, intervention, self._logged))
        is_sized = self.epoch_steps is not None
        return trial_trainer(self.trainer, folder, is_sized, intervention, callbacks)

    def with_settings(self, intervention: Intervention) -> AbstractContextManager[None]:
        """What an intervention sets of the module's parts and of torch, within it."""
        return intervention.settings.applied(self._module, self._compiled)

    @property
    def network(self) -> torch.nn.Module:
        """The copy of the module that the trials train."""
        return uncompiled(self._module)

    def keep_batches(self, count: int, seed: int) -> None:
        """Keeps batches for the trials that do without loading or transfer."""
        look = Look(
            KeptBatches(are_changed=self._raw.are_changed),
            KeptBatches(are_changed=self._moved.are_changed),
        )
        self._raw, self._moved, self._batches_of = look.raw, KeptBatches(), seed

        def load() -> int:
            with self._loader(seed) as loader:
                paced = PacedLoader(loader, 0, min(count, MOST_BATCHES), self.epoch_steps)
                return look.raw.fill(paced)

        kept = self.tried(load)
        if (why := look.raw.why_uncopyable) is not None:
            self._note(f"batches cannot be copied ({why}): from memory they come loaded anew")
        if self.agreement.any(why is not None):
            return
        free, steps = Intervention(loading=True), min(kept)
        del look.raw.batches[steps:]  # of which another rank has fewer

        def give() -> None:
            self._fit(free, 0, steps, seed, look.attach, look)
            look.conclude()
            if look.raw.are_changed:
                self._writes_into_data = share_memory(*map(self.first_batch, (seed, seed)))

        self.agreement.tried(give)
        self._moved = look.moved
        if self._raw.are_changed or self._moved.are_changed:
            self._note("a step changes its batches: from memory they come as copies, not timed")

    def _forget_training(self) -> None:
        """What one trial has learnt, and lost, is not the next one's."""
        with torch.no_grad():
            for name, value in self._module.state_dict(keep_vars=True).items():
                if isinstance(value, torch.Tensor) and name in self._weights:
                    value.copy_(self._weights[name])


def subject_of(job: Job, agree: Callable[[L.Trainer], Agreement] | None = None) -> Subject:
    """The subject of a configuration's job: what `hpml.train` would train; `agree` as above."""
    return Subject(build_trainer(job.cfg, job.checkpoints(Path())), job.module, job.data, agree)
