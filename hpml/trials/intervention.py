"""What a trial takes out of a job, the module without it, and what stands in for it."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parallel import DistributedDataParallel

from hpml.callbacks.batch_size import TRANSFER_HOOKS
from hpml.system.lightning_packages import twin_for, twins
from hpml.system.patch_object import alter
from hpml.trials.settings import Settings

# The module's hooks in each step, and what would take gradients and optimizer somewhere else.
STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward"),
    *("on_before_zero_grad", "on_before_optimizer_step"),
)
OF_THE_STEP = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
# Lightning's callbacks that search on their own, save, stop, or need what a trial has not; and
# those that change the Trainer by the epoch, of which a trial has the first one alone.
NOT_IN_A_TRIAL = (
    *(callbacks.LearningRateFinder, callbacks.BatchSizeFinder, callbacks.Checkpoint),
    *(callbacks.EarlyStopping, callbacks.ModelSummary, callbacks.Timer),
    *(callbacks.GradientAccumulationScheduler, callbacks.StochasticWeightAveraging),
)
WEIGHT = "weight_of_the_trial"
IGNORED_BY_DDP = "_ddp_params_and_buffers_to_ignore"  # an attribute that it looks for
SIGTERM_QUESTION = "_broadcast_sigterm_tensor"  # of Lightning's loop to all ranks, in each step
# What a step logs: arguments of `log` by name.
Logged = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Intervention:
    """What a trial takes out of the job, or changes about it."""

    loading: bool = False  # the batches come from memory
    transfer: bool = False  # and as the training step gets them, without the hooks of the transfer
    compute: bool = False  # the training step has one parameter and no input
    hooks: bool = False  # no callbacks, no loggers, no hooks of the module within a step
    communication: bool = False  # ranks keep gradients and buffers to themselves, by `no_sync`
    without: str | None = None  # the callback of this name; `logging` for the loggers
    threads: int | None = None  # that compute on the processor; None for as many as there are
    settings: Settings = Settings()  # noqa: RUF009 - it is frozen


def altered(
    original: Any, intervention: Intervention, fetches: bool, logged: Logged, ranks: int = 1
) -> Any:
    """The module without what a trial does without: one of its own class, with the same attributes.

    What is set on one of the two is set on both: a method that is bound to the original, or
    compiled for it, finds the trial's Trainer there.

    `fetches` tells whether the training step fetches its batches itself; what it has `logged`, it
    logs where computing is free too. Where it trains on several `ranks`, these exchange as many
    gradients with computing free, of zeros.
    """
    module = object.__new__(type(original))
    object.__setattr__(module, "__dict__", vars(original))
    own = module.configure_callbacks
    alter(module, configure_callbacks=lambda module: _kept(own(), intervention.hooks))
    if intervention.transfer:
        alter(module, **dict.fromkeys(TRANSFER_HOOKS, _batch_as_it_is))
    if intervention.hooks:
        alter(module, **_as_in_the_base(module, STEP_HOOKS), lr_scheduler_step=nothing)
    if intervention.compute:
        exchanged = [each for each in module.parameters() if each.requires_grad]
        exchanged = [] if ranks == 1 or intervention.communication else exchanged
        module.register_parameter(WEIGHT, torch.nn.Parameter(torch.zeros(())))
        ignored = getattr(module, IGNORED_BY_DDP, ())
        setattr(module, IGNORED_BY_DDP, [*ignored, WEIGHT])
        step = _tiny_step(dict(logged), fetches, exchanged)
        alter(module, **_as_in_the_base(module, OF_THE_STEP), training_step=step)
    return module


def _kept(own: Any, leaves_out_all: bool) -> list[L.Callback]:
    """Those of the module's own callbacks that a trial has."""
    every = own if isinstance(own, Sequence) else [own]
    return [each for each in every if not leaves_out_all and is_in_trials(each)]


def is_in_trials(callback: Any) -> bool:
    """Whether a trial can have a callback; of ours, those that do not only measure."""
    own = "hpml" in (kind.__module__.partition(".")[0] for kind in type(callback).__mro__)
    without = [twin for kind in NOT_IN_A_TRIAL for twin in twins(kind)]
    return not isinstance(callback, tuple(without)) and not (
        own and not getattr(callback, "in_trials", True)
    )


def _as_in_the_base(module: Any, hooks: Sequence[str]) -> dict[str, Any]:
    """Lightning's own methods in place of those that the module has overridden."""
    base = twin_for(module, L.LightningModule)
    overridden = (hook for hook in hooks if is_overridden(hook, module, base))
    return {hook: getattr(base, hook) for hook in overridden}


@contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """So many threads of torch meanwhile; None changes nothing."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(before)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Ctrl-C within it raises KeyboardInterrupt: Lightning's fit ends the process, and lets no
    later one through.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from None


def nothing(*_: Any, **__: Any) -> None:
    """Stub of a hook."""


def _batch_as_it_is(owner: Any, batch: Any, *_: Any, **__: Any) -> Any:
    return batch


class _Zeros(torch.autograd.Function):
    """A loss of 0, whose backward pass has a gradient of zeros for each parameter at once."""

    @staticmethod
    def forward(ctx: Any, *weights: torch.Tensor) -> torch.Tensor:
        ctx.weights = weights
        return weights[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[torch.Tensor, ...]:
        return tuple(each.new_zeros(()).expand_as(each) for each in ctx.weights)


def _tiny_step(
    logged: Logged, fetches: bool, exchanged: Sequence[torch.Tensor] = ()
) -> Callable[..., Any]:
    """Stub of a training step; one by hand has no loss, for its optimizers step no more."""

    def training_step(module: Any, *_: Any, **__: Any) -> Any:
        for name, settings in logged.items():
            module.log(name, **settings, on_step=True)
        loss = module.get_parameter(WEIGHT).square()
        if exchanged:
            loss = loss + _Zeros.apply(*exchanged)
        if module.automatic_optimization:
            return loss
        if exchanged:
            module.manual_backward(loss)
        return None

    def fetching_step(module: Any, dataloader_iter: Any) -> Any:
        next(dataloader_iter)
        return training_step(module)

    return fetching_step if fetches else training_step


class Prepared:
    """Tells the Trainer of a trial, by a callback of this class."""


def preparation(trainer: Any, intervention: Intervention, logged: Logged) -> L.Callback:
    """Has schedulers do without metrics that only validation logs, and prepares the optimizers.

    Where computing is free they hold one parameter and only call their closure: schedulers and
    hooks go on. What the first step of the job's own logs is kept in `logged`, for loggers and bars
    to have there. The callback is for a Trainer like this one.
    """

    stilled, silence = intervention.compute, ExitStack()  # which ends with the trial's Trainer

    def on_train_start(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if intervention.communication and trainer.world_size > 1:
            _silence(trainer, silence)
        for config in trainer.lr_scheduler_configs:
            config.strict = False
        if stilled:
            weight = pl_module.get_parameter(WEIGHT)
            trainer.optimizers = [_still(optimizer, weight) for optimizer in trainer.optimizers]
        intervention.settings.set_optimizers(trainer.optimizers)

    def on_train_batch_end(trainer: L.Trainer, *_: Any) -> None:
        if stilled or trainer.fit_loop.total_batch_idx > 0:
            return
        to_logger, in_bar = trainer.logged_metrics, trainer.progress_bar_metrics
        for name, value in trainer.callback_metrics.items():
            where = {"logger": name in to_logger, "prog_bar": name in in_bar}
            logged[name] = {"value": value.clone(), **where}

    kind: Any = type("Preparation", (Prepared, twin_for(trainer, callbacks.LambdaCallback)), {})
    callback: L.Callback = kind(
        on_train_start=on_train_start, on_train_batch_end=on_train_batch_end
    )
    return callback


def _silence(trainer: Any, stack: ExitStack) -> None:
    """A step exchanges nothing from now on: no gradients, buffers or question whether to stop."""
    if isinstance(trainer.strategy.model, DistributedDataParallel):
        stack.enter_context(trainer.strategy.model.no_sync())
        trainer.strategy.model.require_forward_param_sync = False
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, SIGTERM_QUESTION):
        setattr(loop, SIGTERM_QUESTION, nothing)


def _still(optimizer: Any, weight: torch.nn.Parameter) -> torch.optim.Optimizer:
    """Stub of the user's optimizer, which the module may keep for the trials to come."""
    still: Any = torch.optim.SGD([weight], lr=0.0)
    groups = [{**group, "params": []} for group in optimizer.param_groups]
    still.param_groups = groups or still.param_groups
    still.param_groups[0]["params"] = [weight]
    still.step = lambda closure=None, **_: closure and closure()
    return still
