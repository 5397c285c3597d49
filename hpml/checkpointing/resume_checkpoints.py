"""Writes checkpoints from which a run resumes exactly, and resumes from one."""

import logging
import os
import random
import signal
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch.callbacks import Checkpoint

from hpml.callbacks.epoch_timer import EpochTimer
from hpml.callbacks.observer import Observer
from hpml.callbacks.run_recorder import RunRecorder
from hpml.callbacks.trainer_facts import logging_step
from hpml.checkpointing import resume_choice
from hpml.checkpointing.can_resume import can_begin_here, why_not
from hpml.checkpointing.plain_types import NotPlainError, plain, plain_checkpoint, rebuilt
from hpml.errors import first_line
from hpml.system.files import sync_directory
from hpml.system.signals import RunInterrupted, process_signals

log = logging.getLogger("hpml")

MOST_SHARE = 0.02  # of the time, for writing them
RANKS_AGREE_EVERY = 10  # batches, where there are several ranks: to agree costs time
# So often the last checkpoint is touched: what was done after it, and lost, is known to that.
SIGN_EVERY_S = 2.0
ADVICE = "leave it out of its state_dict, or admit its type by torch.serialization.add_safe_globals"
TO_ARRIVE_S = 0.05  # for a signal that has ended a loader's process to reach this one too


@dataclass(eq=False)
class ResumeCheckpoints(Checkpoint, Observer):
    """Keeps the last two resume checkpoints in `checkpoints/`, each written whole or not at all.

    One is written every `every_s` seconds, after the first batch of an epoch, and when a signal
    asks the run to end; always after a batch at which training can begin again exactly: not inside
    a window of accumulated gradients, not at an epoch's last batch, not just before a validation.
    At the beginning of epochs, writing takes at most a fiftieth of the time.

    It stands last in the Trainer's callbacks: what the others do after a batch is in it.
    Logs nothing.
    """

    directory: Path  # of the run
    facts: dict[str, Any]  # what a run has to have in common with a checkpoint to resume from it
    timer: EpochTimer  # whose open epoch a checkpoint keeps
    recorder: RunRecorder  # whose epochs it keeps
    every_s: float | None  # seconds between two; None for none in time
    warns: bool  # where there cannot be any
    found: resume_choice.Found | None = None  # the one to resume from
    imported: Container[str] | None = None  # modules, when a run resumes; None for any

    def __post_init__(self) -> None:
        self.folder = self.directory.resolve() / resume_choice.FOLDER
        self._own = [self.found.path] if self.found else []  # those that are kept
        self._is_exact = self._was_tried = False
        self._last_s = self._took_s = self._sign_s = 0.0
        self._epoch = self._agree_at = 0
        self._reasons: set[str] = set()  # that were told

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Brings back what a checkpoint holds besides Lightning's part; from now signals wait."""
        process_signals.raise_if_arrived()
        reason = why_not(trainer, pl_module)
        self._is_exact = reason is None
        if reason is not None and self.warns and trainer.is_global_zero:
            log.warning(f"this run cannot be resumed: {reason}")
        self._last_s, self._took_s = time.monotonic(), 0.0
        self._epoch = trainer.current_epoch
        if self.found is not None:
            module: Any = pl_module
            own = self.found.state["ranks"][trainer.global_rank]
            _set_random_states(own["random"], trainer.strategy.root_device)
            module.load_resume_state(rebuilt(own["module"]))
            self.timer.carry_over(own["timer"])
            self.recorder.carry_over(trainer, self.found.state["record"])
            self.found = None
        if self._is_exact:
            process_signals.wait_for_checkpoint()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        """Writes a checkpoint where one is due; ends the run where a signal has asked for it."""
        if not self._is_exact:
            return
        asked, due = process_signals.arrived is not None, self._is_due(trainer)
        if trainer.world_size > 1:  # all ranks write, or none
            progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
            if progress.ready < self._agree_at or not can_begin_here(trainer):
                return
            self._agree_at = progress.ready + RANKS_AGREE_EVERY
            asked, due = (
                trainer.strategy.reduce_boolean_decision(one, all=False) for one in (asked, due)
            )
        if not (asked or due):
            self._try_once(trainer, pl_module)
            return
        if not can_begin_here(trainer):
            return
        self._try_to_write(trainer, pl_module)
        self._epoch = trainer.current_epoch
        if asked:
            process_signals.raise_if_arrived(at_checkpoint=True)
            raise RunInterrupted(signal.SIGTERM)  # which another rank was asked by

    def on_train_end(self, *arguments: Any) -> None:
        """Signals end the run at once again. The files go when the record says `completed`."""
        process_signals.wait_no_longer()

    def on_exception(self, *arguments: Any) -> None:
        process_signals.wait_no_longer()

    def write_between_batches(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes a checkpoint where a signal has arrived, and the next batch has not."""
        if self._is_exact and trainer.world_size == 1 and self._between_batches(trainer):
            time.sleep(TO_ARRIVE_S)
            if process_signals.arrived is not None:
                self._try_to_write(trainer, pl_module)

    def _between_batches(self, trainer: L.Trainer) -> bool:
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        same = progress.ready == progress.completed > 0
        return same and trainer.training and can_begin_here(trainer)

    def _is_due(self, trainer: L.Trainer) -> bool:
        now_s = time.monotonic()
        since_s = now_s - self._last_s
        if now_s - self._sign_s > SIGN_EVERY_S and trainer.is_global_zero:
            self._sign_s = now_s
            for checkpoint in self._own[-1:]:
                with suppress(OSError):
                    os.utime(checkpoint)
        if self.every_s is not None and since_s >= self.every_s:
            return True
        return trainer.current_epoch != self._epoch and since_s * MOST_SHARE >= self._took_s

    def _try_once(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at the first batch whether all can be kept: the first one may be hours away."""
        if not self._was_tried and can_begin_here(trainer):
            self._was_tried = True
            try:
                self._content(trainer)
                _own_state(pl_module, self.imported)
            except NotPlainError as error:
                self._warn_not_plain(error)
            except (OSError, RuntimeError) as error:  # as when one is written, which ends nothing
                log.warning(f"no resume checkpoint can be written: {first_line(error)}")

    def _warn_not_plain(self, error: NotPlainError) -> None:
        """Once for each reason."""
        if str(error) not in self._reasons:
            self._reasons.add(str(error))
            since = " from here on" if self._own else ""
            log.warning(f"this run cannot be resumed{since}: {error}; {ADVICE}")

    def _try_to_write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A full disk, say, ends no training: those before stay."""
        try:
            self._write(trainer, pl_module)
        except NotPlainError as error:
            self._last_s = time.monotonic()
            self._warn_not_plain(error)
        except (OSError, RuntimeError) as error:  # of torch's writer
            self._last_s = time.monotonic()
            log.warning(f"no resume checkpoint was written: {first_line(error)}")

    def _content(self, trainer: L.Trainer) -> dict[str, Any]:
        """Lightning's part, in plain types. Raises NotPlainError."""
        # not `save_checkpoint`, after which all ranks wait for one that may find no room
        connector: Any = trainer._checkpoint_connector
        return plain_checkpoint(connector.dump_checkpoint(weights_only=False), self.imported)[0]

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        begun_s = time.monotonic()
        self._was_tried = True
        own: dict[str, Any] = {
            "facts": self.facts,
            "random": _random_states(trainer.strategy.root_device),
            "timer": self.timer.open_epoch(),
        }
        try:
            own["module"] = _own_state(pl_module, self.imported)
        except NotPlainError as error:
            own["why"] = str(error)
        ranks = _of_all_ranks(trainer, own)
        for rank in ranks:
            if "why" in rank:
                raise NotPlainError(rank["why"])
        for logger in trainer.loggers:  # what was logged before it is not logged again
            try:
                logger.save()
            except Exception as error:  # of a client of any kind: the checkpoint is worth more
                log.warning(f"{type(logger).__name__} could not save: {first_line(error)}")
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        batches = progress.total.processed
        writing = {
            "ranks": ranks,
            "record": self.recorder.so_far(),
            "batches": batches,
            "begins_at": [trainer.current_epoch, progress.current.processed],
            # the first of the steps that come again; Lightning counts a batch after its hooks
            "logging_step": logging_step(trainer)
            + (progress.current.processed - progress.current.completed),
        }
        part = self.folder / ".resume.part"
        try:
            any_trainer: Any = trainer
            with any_trainer.profiler.profile("save_checkpoint"):
                content = self._content(trainer)
                if trainer.is_global_zero:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    torch.save(content | {resume_choice.KEY: writing}, part)
                    self._give_name(part, batches)
        finally:
            if trainer.is_global_zero:
                part.unlink(missing_ok=True)
        self._last_s = time.monotonic()
        self._took_s = self._last_s - begun_s

    def _give_name(self, part: Path, batches: int) -> None:
        with part.open("rb") as written:
            os.fsync(written.fileno())
        self._own.append(part.replace(self.folder / resume_choice.file_name(batches, part)))
        sync_directory(self.folder)
        self._own = self._own[-resume_choice.KEPT :]
        for old in set(resume_choice.resume_checkpoints(self.folder)) - set(self._own):
            old.unlink(missing_ok=True)


def _own_state(module: Any, imported: Container[str] | None) -> Any:
    """What a module keeps of an epoch's middle, in plain types. Raises NotPlainError."""
    # a device's tensors would come to the other ranks as that device's
    state = apply_to_collection(module.resume_state(), torch.Tensor, torch.Tensor.cpu)
    return plain(state, "resume_state", imported)


def _of_all_ranks(trainer: L.Trainer, own: dict[str, Any]) -> list[dict[str, Any]]:
    if trainer.world_size == 1:
        return [own]
    every: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(every, own)
    return every


def _random_states(device: torch.device) -> dict[str, Any]:
    """In plain types: what is kept with weights_only has to be."""
    of_numpy: Any = np.random.get_state()
    kind, keys, *rest = of_numpy
    return {
        "python": random.getstate(),
        "numpy": [kind, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_random_states(states: dict[str, Any], device: torch.device) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
