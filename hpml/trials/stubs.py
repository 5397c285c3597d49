"""Stubs: what stands in for the parts of a job that a trial does without."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

WEIGHT = "weight_of_the_trial"
LOGGED = "logged_of_the_trial"


@dataclass(frozen=True)
class Logged:
    value: torch.Tensor
    logger: bool
    prog_bar: bool


class Prepared(L.Callback):
    """Makes schedulers do without metrics that only validation logs, and stills the optimizers.

    Stilled they hold one parameter and only call their closure: schedulers and hooks go on. What
    the first step of the job's own logs is kept in `logged`, for loggers and bars to have where
    computing is free. `begins` is called when training begins, after all that comes once before it.
    """

    def __init__(
        self, stilled: bool, logged: dict[str, Logged], begins: Callable[[], object] | None = None
    ) -> None:
        self.stilled = stilled
        self.logged = logged
        self._begins = begins

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._begins is not None:
            self._begins()
        for config in trainer.lr_scheduler_configs:
            config.strict = False
        if self.stilled:
            weight = pl_module.get_parameter(WEIGHT)
            trainer.optimizers = [_still(optimizer, weight) for optimizer in trainer.optimizers]

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self.stilled or trainer.fit_loop.total_batch_idx > 0:
            return
        to_logger, in_bar = trainer.logged_metrics, trainer.progress_bar_metrics
        for name, value in trainer.callback_metrics.items():
            logged = Logged(value.clone(), logger=name in to_logger, prog_bar=name in in_bar)
            self.logged[name] = logged


def _still(optimizer: Any, weight: torch.nn.Parameter) -> torch.optim.Optimizer:
    """Stub of the user's optimizer, which the module may keep for the trials to come."""
    still: Any = torch.optim.SGD([weight], lr=0.0)
    groups = [{**group, "params": []} for group in optimizer.param_groups]
    still.param_groups = groups or still.param_groups
    still.param_groups[0]["params"] = [weight]
    still.step = lambda closure=None, **_: closure and closure()
    return still


def _log(module: Any) -> None:
    for name, metric in vars(module)[LOGGED].items():
        module.log(name, metric.value, logger=metric.logger, prog_bar=metric.prog_bar, on_step=True)


def tiny_step(module: Any, *_: Any, **__: Any) -> torch.Tensor:
    _log(module)
    loss: torch.Tensor = module.get_parameter(WEIGHT).square()
    return loss


def manual_step(module: Any, *_: Any, **__: Any) -> None:
    """Stub without an optimizer's step, which the module would call itself."""
    _log(module)


def fetching_step(module: Any, dataloader_iter: Any) -> torch.Tensor:
    """Stub for a module that fetches its batches itself."""
    next(dataloader_iter)
    return tiny_step(module)


def keeping_step(batches: list[Any], step: Callable[..., Any]) -> Callable[..., Any]:
    def training_step(module: Any, batch: Any, *arguments: Any, **keywords: Any) -> Any:
        batches.append(batch)
        return step(module, batch, *arguments, **keywords)

    # Lightning looks which arguments a step takes
    training_step.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
    return training_step


def batch_as_it_is(owner: Any, batch: Any, *_: Any, **__: Any) -> Any:
    return batch
