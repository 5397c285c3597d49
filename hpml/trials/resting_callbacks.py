"""Callbacks that act seldom: the argument that says how seldom, and trials in which they rest."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.callbacks import ProgressBar

from hpml.system.lightning_packages import twins
from hpml.system.patch_object import alter

# A callback that rests is called at one batch of so many.
RESTING_BATCHES = 20
BATCH_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_before_zero_grad"),
)
# Arguments by which callbacks of all kinds are told how seldom to act.
INTERVALS = (
    *("refresh_rate", "every_n_train_steps", "every_n_steps", "log_every_n_steps", "every_n"),
    *("interval", "log_interval", "every"),
)


def intervals(callbacks: Mapping[str, Any]) -> dict[str, str]:
    """Of the callbacks that have one, the argument that says how seldom it acts."""
    every = {name: interval_of(callback) for name, callback in callbacks.items()}
    return {name: argument for name, argument in every.items() if argument is not None}


def interval_of(callback: Any) -> str | None:
    """The argument of a callback that says how seldom it acts; None where it has none."""
    if isinstance(callback, twins(ProgressBar)):
        return "refresh_rate"
    try:
        arguments = inspect.signature(type(callback).__init__).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in INTERVALS if name in arguments), None)


def interval_kept(callback: Any) -> str | None:
    """The attribute in which a callback keeps that argument; None where it is not known."""
    argument = interval_of(callback)
    names = (argument, f"_{argument}") if argument else ()
    return next((name for name in names if type(vars(callback).get(name)) is int), None)


def rest(callback: Any, batches: int) -> None:
    """Has a callback act at one of so many batches.

    By its own interval where it keeps one: it may count by other numbers than a batch's in its
    epoch, and do a little in between. Else its hooks of a batch are called no more often.
    """
    if (name := interval_kept(callback)) is not None:
        vars(callback)[name] = batches
        return
    for hook in BATCH_HOOKS:
        own = getattr(type(callback), hook, None)
        if own is not None:
            alter(callback, **{hook: _at_some(own, batches)})


def _at_some(own: Callable[..., Any], batches: int) -> Callable[..., Any]:
    def hook(callback: Any, trainer: Any, *arguments: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx % batches == 0:
            own(callback, trainer, *arguments)

    return hook
