"""What the timers share: the sensor, and how an epoch's figures reach loggers and metrics."""

from typing import Any, ClassVar

import lightning as L
import torch

from hpml.timing.cuda import device_clock
from hpml.timing.epoch_times import EpochTimes
from hpml.timing.profiler import PhaseProfiler


class PhaseTimer(L.Callback):
    """Base of the timers. Observes: training is the same with and without it.

    The figures of an epoch are final when the next one begins or the training ends. They are then
    sent to the loggers at the step where the epoch ended, and put into `callback_metrics`. With
    several ranks a time is the mean over the ranks, and a second figure is the worst one's.
    """

    # Lightning skips a hook that is None; a call of an empty one would cost each step 20 us.
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
        self.profiler: PhaseProfiler | None = None
        self._reported: EpochTimes | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Puts the sensor in place; a second fit begins anew."""
        if stage == "fit":
            device = device_clock(trainer.strategy.root_device)
            self.profiler = PhaseProfiler.attach(trainer, device)
            self.epochs = []
            self._reported = None

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes the sensor away."""
        if self.profiler is not None:
            self.profiler.detach()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports the epoch that ended just now, if one did."""
        self._report_closed(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports the last epoch."""
        self._report_closed(trainer, pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Keeps the epoch that was cut short, marked as partial; teardown will not be called."""
        if self.profiler is not None:
            self.profiler.close_partial()
            self._report_closed(trainer, pl_module)
            self.profiler.detach()

    def report(
        self, trainer: L.Trainer, pl_module: L.LightningModule, times: EpochTimes
    ) -> dict[str, float]:
        """Keeps an epoch's figures in `epochs`; returns what is logged."""
        in_s = times.in_s()
        figures = {f"time/{key}": in_s[key] for key in self.times}
        known = {name: value for name, value in figures.items() if value is not None}
        self.epochs.append({key: in_s[key] for key in self.times})
        return known if times.partial else self._over_ranks(trainer, known)

    def _report_closed(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        closed = self.profiler.closed if self.profiler is not None else None
        if closed is None or closed is self._reported:
            return
        self._reported = closed
        figures = self.report(trainer, pl_module, closed)
        metrics = {name: torch.tensor(value) for name, value in figures.items()}
        trainer.callback_metrics.update(metrics)
        for logger in trainer.loggers:
            # one less, as Lightning logs the metrics of an epoch whose last step is over
            logger.log_metrics(figures, step=max(0, trainer.global_step - 1))

    def _over_ranks(self, trainer: L.Trainer, figures: dict[str, float]) -> dict[str, float]:
        if trainer.world_size == 1 or not figures:
            return figures
        found = {}
        for operation, prefix in (("mean", "time/"), ("max", "time/worst_rank/")):
            own = torch.tensor(list(figures.values()), device=trainer.strategy.root_device)
            reduced = trainer.strategy.reduce(own, reduce_op=operation).tolist()
            for name, value in zip(figures, reduced, strict=True):
                found[name.replace("time/", prefix)] = value
        return found
