"""What the timers share: the sensor, and how an epoch's figures reach loggers and metrics."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import lightning as L
import torch

from hpml.callbacks.observer import Observer
from hpml.callbacks.trainer_facts import logging_step
from hpml.timing.epoch_times import EpochTimes
from hpml.timing.fit_clock import FitClock
from hpml.timing.profiler import PhaseProfiler
from hpml.timing.profiler_actions import RANKS

Hook = TypeVar("Hook", bound=Callable[..., None])


def in_its_fit(hook: Hook) -> Hook:
    """A hook of a callback that is not called in a run that another hook of the fit has started.

    Lightning calls all hooks in there too, as if that run were the fit: a validation by hand, or
    another fit of the same Trainer.
    """

    @functools.wraps(hook)
    def called(callback: Any, trainer: L.Trainer, *arguments: Any, **keywords: Any) -> None:
        if not callback.is_aside(trainer):
            hook(callback, trainer, *arguments, **keywords)

    return called  # type: ignore[return-value]


class PhaseTimer(Observer):
    """Base of the timers. Observes: training is the same with and without it.

    The figures of an epoch are final when the next one begins or the training ends. They are then
    sent to the loggers at the step where the epoch ended, and put into `callback_metrics`. With
    several ranks a time is the mean over the ranks, and a second figure is the worst one's.

    Args:
        to_loggers: whether figures go there, into `callback_metrics` and to the progress bar;
            without, they are in `epochs` alone.
    """

    times: ClassVar[tuple[str, ...]] = ()  # the keys of the record's `time` that it logs

    def __init__(self, to_loggers: bool = True) -> None:
        self.to_loggers = to_loggers
        self.epochs: list[Any] = []
        self.profiler: PhaseProfiler | None = None  # while a fit is under way
        self.begun = False  # whether the fit has come to its training
        self._unsent: dict[str, float] | None = None  # what no logger has of the last epoch

    @property
    def logs(self) -> list[str]:
        """The names of what it logs of an epoch."""
        return [f"time/{key}" for key in self.times]

    @property
    def clock(self) -> FitClock:
        """Of the fit under way."""
        assert self.profiler is not None
        return self.profiler.clock

    def is_aside(self, trainer: L.Trainer) -> bool:
        """Whether a hook of the fit under way has started what a Trainer does now."""
        return self.profiler is not None and self.profiler.is_aside(trainer)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has all that was timed, and no part in the fit under way."""
        return vars(self) | {"profiler": None, "begun": False, "_unsent": None}

    @in_its_fit
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.profiler = PhaseProfiler.attach(trainer)
            self.profiler.before_runs.append(functools.partial(self._keep, trainer))
            self.begun = False

    @in_its_fit
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From now on epochs count: a tuner that trains before leaves callbacks out."""
        assert self.profiler is not None
        self.profiler.arm()
        self.begun = True
        self.epochs = []
        self._unsent = None

    @in_its_fit
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._report(trainer)

    @in_its_fit
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._report(trainer)

    @in_its_fit
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.profiler is not None:
            self.profiler.detach()
            self.profiler = None

    @in_its_fit
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Keeps the epoch that was cut short, marked as partial; teardown will not be called.

        Sends it to no logger: that may be what has failed.
        """
        if self.profiler is not None:
            self.profiler.detach()
            self._keep(trainer)
            self.profiler.clock.close_partial()
            self._keep(trainer)
            self.profiler = None

    def keep(self, trainer: L.Trainer, times: EpochTimes) -> dict[str, float]:
        """Keeps an epoch's figures in `epochs`; returns what is to be logged."""
        in_s = times.in_s()
        self.epochs.append({key: in_s[key] for key in self.times})
        return self.figures(in_s)

    def figures(self, in_s: dict[str, float | None]) -> dict[str, float]:
        """What is logged of an epoch's times: those of its own that are known."""
        own = {f"time/{key}": in_s[key] for key in self.times}
        return {name: value for name, value in own.items() if value is not None}

    def _keep(self, trainer: L.Trainer) -> None:
        """Keeps what has ended since, before another run changes the Trainer's metrics."""
        if self.profiler is not None:
            for times in self.clock.epochs[len(self.epochs) if self.begun else 0 :]:
                times.unmeasured = self.profiler.unmeasured()
                self._unsent = self.keep(trainer, times)

    def _report(self, trainer: L.Trainer) -> None:
        """Logs the epoch that ended just now, if one did."""
        self._keep(trainer)
        figures, self._unsent = self._unsent, None
        if figures is None:
            return
        if trainer.world_size > 1:
            depth = self.clock.enter(RANKS)
            figures = self._over_ranks(trainer, figures)
            self.clock.leave(depth)
        if not self.to_loggers:
            return
        trainer.callback_metrics.update({k: torch.tensor(value) for k, value in figures.items()})
        # as Lightning logs the metrics of an epoch whose last step is over: with its number
        figures["epoch"] = float(self.clock.epochs[-1].epoch)
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=max(0, logging_step(trainer) - 1))

    def _over_ranks(self, trainer: L.Trainer, figures: dict[str, float]) -> dict[str, float]:
        """Means, and the worst rank's times; what a rank does not know is left out."""
        every = of_all_ranks(trainer, [figures.get(name, math.nan) for name in self.logs])
        means, worst = every.mean(0).tolist(), every.max(0).values.tolist()
        over_ranks = {}
        for name, mean, slowest in zip(self.logs, means, worst, strict=True):
            if not math.isnan(mean):
                over_ranks[name] = mean
                if name.startswith("time/"):
                    over_ranks[name.replace("time/", "time/worst_rank/")] = slowest
        return over_ranks


def of_all_ranks(trainer: L.Trainer, own: list[float]) -> torch.Tensor:
    """Figures of each rank, of shape (ranks, figures); each gives as many."""
    figures = torch.tensor(own, device=trainer.strategy.root_device)
    with warnings.catch_warnings():  # Lightning gathers by a function that torch has deprecated
        warnings.filterwarnings("ignore", message=r"torch\.distributed\.nn\.functional\.all_gather")
        every: torch.Tensor = trainer.strategy.all_gather(figures)
    return every
