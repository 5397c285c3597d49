"""What a trial takes out of a job, and the module without it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    LearningRateFinder,
    ModelSummary,
    Timer,
)
from lightning.pytorch.callbacks.batch_size_finder import BatchSizeFinder

from hpml.trials.copies import alter, as_in_the_base, nothing
from hpml.trials.stubs import (
    LOGGED,
    WEIGHT,
    Logged,
    batch_as_it_is,
    fetching_step,
    manual_step,
    tiny_step,
)

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
# The module's hooks in each step, and what would take gradients and optimizer somewhere else.
STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward"),
    *("on_before_zero_grad", "on_before_optimizer_step"),
)
OF_THE_STEP = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
# Lightning's callbacks that search on their own, save, stop, or need what a trial has not.
NOT_IN_A_TRIAL = (
    *(Checkpoint, ModelSummary, LearningRateFinder, BatchSizeFinder),
    *(EarlyStopping, Timer),
)


@dataclass(frozen=True)
class Intervention:
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


def altered(
    original: Any, intervention: Intervention, fetches: bool, logged: dict[str, Logged]
) -> Any:
    """The module without what a trial does without: a copy that shares all of its parts.

    `fetches` tells whether the training step fetches its batches itself; what it has `logged`, it
    logs where computing is free too.
    """
    module = copy.copy(original)
    module.__dict__ = {
        key: dict(value) if key in ("_parameters", "_buffers", "_modules") else value
        for key, value in vars(original).items()
    }
    own = type(module).configure_callbacks
    alter(module, configure_callbacks=lambda module: _kept(own(module), intervention.hooks))
    if intervention.transfer:
        alter(module, **dict.fromkeys(TRANSFER_HOOKS, batch_as_it_is))
    if intervention.hooks:
        alter(module, **as_in_the_base(module, STEP_HOOKS))
        alter(module, lr_scheduler_step=nothing)
    if intervention.compute:
        manual = not module.automatic_optimization
        module.register_parameter(WEIGHT, torch.nn.Parameter(torch.zeros(())))
        vars(module)[LOGGED] = dict(logged)
        alter(
            module,
            **as_in_the_base(module, OF_THE_STEP),
            training_step=fetching_step if fetches else manual_step if manual else tiny_step,
        )
    return module


def _kept(callbacks: Any, leaves_out_all: bool) -> list[L.Callback]:
    """Those of the module's own callbacks that a trial has."""
    if leaves_out_all:
        return []
    every = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    return [callback for callback in every if not isinstance(callback, NOT_IN_A_TRIAL)]
