"""What the timers share: the sensor, and how an epoch's figures reach loggers and metrics."""

from typing import Any, ClassVar

import lightning as L
import torch

from hpml.timing.epoch_times import EpochTimes
from hpml.timing.profiler import PhaseProfiler


class PhaseTimer(L.Callback):
    """Base of the timers. Observes: training is the same with and without it.

    The figures of an epoch are final when the next one begins or the training ends. They are then
    sent to the loggers at the step where the epoch ended, and put into `callback_metrics`. With
    several ranks a time is the mean over the ranks, and a second figure is the worst one's.
    """

    # Lightning skips a hook that is None; to call an empty one takes time at each step.
    on_train_batch_start: Any = None
    on_train_batch_end: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None
    on_validation_batch_start: Any = None
    on_validation_batch_end: Any = None

    times: ClassVar[tuple[str, ...]] = ()  # the keys of the record's `time` that it logs

    def __init__(self) -> None:
        self.epochs: list[Any] = []
        self.profiler: PhaseProfiler | None = None  # while a fit goes on
        self.begun = False  # whether the fit has come to its training

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Puts the sensor in place; a second fit begins anew."""
        if stage == "fit":
            self.profiler = PhaseProfiler.attach(trainer)
            self.epochs = []
            self.begun = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From now on epochs count: a tuner that trains has left the callbacks out."""
        assert self.profiler is not None
        self.profiler.arm()
        self.begun = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports the epoch that ended just now, if one did."""
        self._report(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports the last epoch."""
        self._report(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes the sensor away."""
        self._detach()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Keeps the epoch that was cut short, marked as partial; teardown will not be called.

        Sends it to no logger: that may be what has failed.
        """
        if self.profiler is not None:
            self.profiler.detach()
            self._keep(trainer, pl_module)
            self.profiler.clock.close_partial()
            self._keep(trainer, pl_module)
            self.profiler = None

    def keep(
        self, trainer: L.Trainer, pl_module: L.LightningModule, times: EpochTimes
    ) -> dict[str, float]:
        """Keeps an epoch's figures in `epochs`; returns what is to be logged."""
        in_s = times.in_s()
        self.epochs.append({key: in_s[key] for key in self.times})
        return self.figures(in_s)

    def figures(self, in_s: dict[str, float | None]) -> dict[str, float]:
        """What is logged of an epoch's times: those of its own that are known."""
        own = {f"time/{key}": in_s[key] for key in self.times}
        return {name: value for name, value in own.items() if value is not None}

    def _keep(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, float]:
        figures: dict[str, float] = {}
        if self.profiler is not None:
            for times in self.profiler.clock.epochs[len(self.epochs) :]:
                times.unmeasured = self.profiler.unmeasured()
                figures = self.keep(trainer, pl_module, times)
        return figures

    def _report(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        figures = self._over_ranks(trainer, self._keep(trainer, pl_module))
        if figures:
            metrics = {name: torch.tensor(value) for name, value in figures.items()}
            trainer.callback_metrics.update(metrics)
            for logger in trainer.loggers:
                # one less, as Lightning logs the metrics of an epoch whose last step is over
                logger.log_metrics(figures, step=max(0, logging_step(trainer) - 1))

    def _over_ranks(self, trainer: L.Trainer, figures: dict[str, float]) -> dict[str, float]:
        if trainer.world_size == 1 or not figures:
            return figures
        found = {}
        for operation, prefix in (("mean", "time/"), ("max", "time/worst_rank/")):
            own = torch.tensor(list(figures.values()), device=trainer.strategy.root_device)
            reduced = trainer.strategy.reduce(own, reduce_op=operation).tolist()
            for name, value in zip(figures, reduced, strict=True):
                if operation == "mean" or name.startswith("time/"):
                    found[name.replace("time/", prefix)] = value
        return found

    def _detach(self) -> None:
        if self.profiler is not None:
            self.profiler.detach()
            self.profiler = None


def logging_step(trainer: L.Trainer) -> int:
    """The step at which Lightning logs now; with several optimizers `global_step` is another."""
    loop = trainer.fit_loop.epoch_loop
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))
