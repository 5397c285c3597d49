"""An epoch's time and all of its figures; live windows; the verdict."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.utilities.types import STEP_OUTPUT

from hpml.callbacks.phase_timer import PhaseTimer, of_all_ranks
from hpml.callbacks.trainer_facts import facts_of_trainer, logging_step, samples_in, slowest_rank
from hpml.records.epoch_table import EpochTable
from hpml.records.phases import PHASES, TIMES
from hpml.records.run_record import EpochRecord
from hpml.system.environment import peak_memory_mib
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import NS_PER_S, EpochTimes
from hpml.timing.live import LiveShares
from hpml.timing.verdict import Share, in_words, judge

log = logging.getLogger("hpml")

LOGGED = frozenset(
    {f"time/{name}" for name in TIMES}
    | {f"time/worst_rank/{name}" for name in TIMES}
    | {"throughput/samples_per_s"}
)


class EpochTimer(PhaseTimer):
    """Times epochs, on any Trainer; prints a row for each, and what likely limits the speed.

    | key | when | what |
    | --- | --- | --- |
    | `time/epoch_s` | epoch | all of it |
    | `time/validation_s` | epoch | the validation loop, without the saving of checkpoints |
    | `time/other_s` | epoch | hooks, loggers, checkpoints, schedulers, Lightning's loop |
    | `throughput/samples_per_s` | epoch | training samples over `time/epoch_s` |
    | `window/data_s` … `window/other_s`, `window/wall_s` | window | seconds of the window |
    | `window/samples_per_s` | window | training samples over `window/wall_s` |

    The progress bar shows `data_wait`, the last window's share of waiting for data.

    A batch's samples are the length of the first tensor in it; throughput is left out where a
    batch holds none.

    Attributes:
        epochs: an EpochRecord for each.
        startup_s: of the fit before its first epoch.
        verdict: the record's; None before the first.

    Args:
        every_n_steps: length of a window; None for no windows.
        sync: waits for the device at every border between phases: an audit, which slows training.
        say: prints a line; by default, around the progress bar to the terminal.
        setting: what the advice has to know; found out from the Trainer if it is not given.
        flops_per_sample: forward and backward, for the achieved TFLOP/s.
    """

    times: ClassVar = ("epoch_s", "validation_s", "other_s")

    def __init__(
        self,
        every_n_steps: int | None = 50,
        sync: bool = False,
        say: Callable[[str], None] | None = None,
        setting: JobFacts | None = None,
        flops_per_sample: float | None = None,
    ) -> None:
        super().__init__()
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: give at least 1, or None")
        self.sync = sync
        self.flops_per_sample = flops_per_sample
        self._setting = setting
        self._say = say
        self._every_n_steps = every_n_steps
        self._laid_out: set[str | None] = set()  # directories of loggers
        self._begin_fit()

    @property
    def logs(self) -> list[str]:
        """The names of what it logs of an epoch."""
        return [*super().logs, "throughput/samples_per_s"]

    def _begin_fit(self) -> None:
        self.startup_s: float | None = None
        self.verdict: dict[str, str] | None = None
        self._live = LiveShares(self._every_n_steps)
        self._table = EpochTable()
        self._warned = False
        # Metrics that a validation logs stay in `callback_metrics` through the epochs without one.
        self._known_before: set[str] = set()
        self._of_validation: set[str] = set()
        self._begin_counting()

    def _begin_counting(self) -> None:
        self._batches = 0
        self._samples: int | None = 0
        self._first_samples: int | None = None
        self._validated = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Puts the sensor in place."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            assert self.profiler is not None
            self.begun_ns = self.profiler.clock.begun_ns
            if self.profiler.clock.device is not None:
                self.profiler.clock.device.sync |= self.sync
            if trainer.is_global_zero:
                self._lay_out(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forgets the fit before."""
        super().on_train_start(trainer, pl_module)
        self._begin_fit()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts the batch's samples; looks at the clock every few steps."""
        samples = samples_in(batch)
        if self._batches == 0:
            self._first_samples = samples
        self._batches += 1
        if samples is None or self._samples is None:
            self._samples = None
        else:
            self._samples += samples
        if self._live.step_ended(samples):
            self._look(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remembers which metrics are there without this validation."""
        self._known_before = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remembers which ones it brought."""
        if not trainer.sanity_checking:
            self._validated = True
            self._of_validation |= set(trainer.callback_metrics) - self._known_before

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports the last epoch, and gives the verdict on all of them."""
        super().on_train_end(trainer, pl_module)
        if self._batches and not self.epochs:
            log.warning(f"Lightning {L.__version__} does not tell where epochs begin")
        self._conclude(trainer, pl_module, ended_well=True)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Reports what there is."""
        if self.profiler is not None:
            super().on_exception(trainer, pl_module, exception)
            if self.begun:
                self._conclude(trainer, pl_module)

    def open_epoch(self) -> dict[str, Any] | None:
        """The open epoch so far, in plain types, for `carry_over` in another process."""
        times = self.profiler.clock.open_epoch() if self.profiler is not None else None
        if times is None:
            return None
        return {
            "times": times.as_dict(),
            "batches": self._batches,
            "samples": self._samples,
            "first_samples": self._first_samples,
            "of_validation": sorted(self._of_validation),
        }

    def carry_over(self, known: dict[str, Any] | None) -> None:
        """Goes on with an epoch that another process has begun; after `on_train_start`."""
        if known is None or self.profiler is None:
            return
        self.profiler.clock.carry_over(EpochTimes.from_dict(known["times"]))
        self._batches, self._samples = known["batches"], known["samples"]
        self._first_samples = known["first_samples"]
        self._of_validation = set(known["of_validation"])

    def keep(
        self, trainer: L.Trainer, pl_module: L.LightningModule, times: EpochTimes
    ) -> dict[str, float]:
        """Makes the epoch's record, and prints its row."""
        assert self.profiler is not None
        self.startup_s = (self.profiler.clock.startup_ns or 0) / NS_PER_S
        if times.unmeasured and not self._warned:
            self._warned = True
            missing = ", ".join(sorted(f"time/{phase}_s" for phase in times.unmeasured))
            log.warning(
                f"Lightning {L.__version__} does not tell what {missing} needs; "
                "they and time/other_s are left out"
            )
        self._live.epoch_ended(times)
        epoch = self._record(trainer, times)
        self._begin_counting()
        self.epochs.append(epoch)
        figures = self.figures(epoch.time)
        if epoch.samples_per_s is not None:
            figures["throughput/samples_per_s"] = epoch.samples_per_s
        for line in self._table.lines(epoch):
            self._print(trainer, pl_module, line)
        return figures

    def _over_ranks(self, trainer: L.Trainer, figures: dict[str, float]) -> dict[str, float]:
        """Puts into the epoch's record what its times are on all ranks."""
        epoch = self.epochs[-1]
        own = [epoch.time[name] for name in TIMES]
        every = of_all_ranks(trainer, [math.nan if s is None else s for s in own])
        epoch.ranks = {
            name: {
                "mean": float(s.mean()),
                "worst": float(s.max()),
                "skew": float(s.max() - s.min()),
            }
            for name, s in zip(TIMES, every.T.cpu(), strict=True)
            if not s.isnan().any()
        }
        return super()._over_ranks(trainer, figures)

    def _lay_out(self, trainer: L.Trainer) -> None:
        """TensorBoard's chart of the phases; a layout that the module makes later replaces it."""
        names = [f"time/{phase}_s" for phase in PHASES]
        for logger in trainer.loggers:
            experiment = getattr(logger, "experiment", None)  # not every logger has one
            lay_out = getattr(experiment, "add_custom_scalars", None)
            if lay_out is not None and logger.log_dir not in self._laid_out:
                self._laid_out.add(logger.log_dir)
                lay_out({"Time": {"Where the epoch goes": ["Multiline", names]}})

    def _record(self, trainer: L.Trainer, times: EpochTimes) -> EpochRecord:
        in_s = times.in_s()
        epoch_s = in_s["epoch_s"] or 0.0
        first_s = None if times.first_step_ns is None else times.first_step_ns / NS_PER_S
        ranks = trainer.world_size
        samples = None if self._samples is None else self._samples * ranks
        epoch = EpochRecord(
            epoch=times.epoch,
            steps=self._batches,
            samples=samples,
            time=in_s,
            samples_per_s=samples / epoch_s if samples and epoch_s else None,
            metrics={} if times.partial else self._metrics(trainer),
            train_split=times.train_split(),
            other_split=times.other_split(),
            first_batch_s=first_s,
            step_ms=times.later_steps.in_ms(),
            peak_memory_mib=peak_memory_mib(trainer.strategy.root_device),
            partial=times.partial or not self._is_whole(trainer),
            resumed=times.resumed,
        )
        steady_s = epoch_s - (first_s or 0.0) - (in_s["validation_s"] or 0.0)
        if samples is not None and self._first_samples is not None and steady_s > 0:
            epoch.steady_samples_per_s = (samples - self._first_samples * ranks) / steady_s
        if self.flops_per_sample and epoch.steady_samples_per_s:
            epoch.achieved_tflops = self.flops_per_sample * epoch.steady_samples_per_s / 1e12
        if times.device_ns is not None and not times.resumed:
            epoch.device_time = {f"{k}_s": ns / NS_PER_S for k, ns in times.device_ns.items()}
        return epoch

    def _is_whole(self, trainer: L.Trainer) -> bool:
        """Whether nothing stopped the epoch, and no batch of it was trained by another fit."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        stopped = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        in_full = progress.is_last_batch or not stopped
        return in_full and progress.current.completed <= self._batches

    def _metrics(self, trainer: L.Trainer) -> dict[str, float | None]:
        return {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name not in LOGGED and (self._validated or name not in self._of_validation)
        }

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self.profiler is not None
        clock = self.profiler.clock
        if not clock.in_epoch:
            return
        device_times = clock.device.times() if clock.device is not None else None
        window = self._live.look(clock.times(), device_times)
        if window is not None:
            share = window["data_s"] / window["wall_s"] if window["wall_s"] else 0.0
            trainer.progress_bar_metrics["data_wait"] = f"{share:.0%}"  # type: ignore[assignment]
            if "samples_per_s" in window:
                window["samples_per_s"] *= trainer.world_size
            figures = {f"window/{name}": value for name, value in window.items()}
            for logger in trainer.loggers:
                logger.log_metrics(figures, step=logging_step(trainer))
        shares = self._live.news()
        if shares is not None:
            verdict = self._judge(trainer, shares)
            known = self.verdict
            changed = known is None or verdict["kind"] not in (known["kind"], "inconclusive")
            if changed:
                self.verdict = verdict
                where = "" if trainer.world_size == 1 else "on rank 0 "
                self._print_verdict(trainer, pl_module, f"so far {where}")

    def _judge(self, trainer: L.Trainer, shares: Mapping[str, Share]) -> dict[str, str]:
        live = self._live
        return judge(
            shares,
            self._setting or facts_of_trainer(trainer, trainer.train_dataloader),
            live.largest_other,
            live.validation_share,
            live.start_share,
        )

    def _conclude(
        self, trainer: L.Trainer, pl_module: L.LightningModule, ended_well: bool = False
    ) -> None:
        shares = self._live.of_all.shares()
        verdict = self._judge(trainer, shares) if shares else None
        if ended_well and trainer.world_size > 1:
            rank = slowest_rank(trainer, self._live.most_waited_share)
            verdict = trainer.strategy.broadcast(verdict, src=rank)
            if rank and verdict is not None:
                verdict["evidence"] += f" (on rank {rank}, for which the others wait)"
        if not self.epochs or verdict is None:
            return
        self.verdict = verdict
        self._print_verdict(trainer, pl_module)
        if self.sync and self.epochs[0].device_time is not None:
            self._print(trainer, pl_module, _audit(self.epochs))

    def _print_verdict(
        self, trainer: L.Trainer, pl_module: L.LightningModule, when: str = ""
    ) -> None:
        assert self.verdict is not None
        evidence, advice = in_words(self.verdict)
        self._print(trainer, pl_module, f"{when}{evidence}")
        self._print(trainer, pl_module, f"  {advice}")

    def _print(self, trainer: L.Trainer, pl_module: L.LightningModule, line: str) -> None:
        if trainer.is_global_zero:
            (self._say or pl_module.print)(line)


def _audit(epochs: list[EpochRecord]) -> str:
    """How far the host's clock, which waited at every border, is from the device's own."""
    pairs = (("data_s", "wait_data_s"), ("transfer_s", "copy_s"), ("train_s", "busy_s"))
    told = []
    for of_host, of_device in pairs:
        host = sum(epoch.time[of_host] or 0.0 for epoch in epochs)
        device = sum((epoch.device_time or {}).get(of_device, 0.0) for epoch in epochs)
        told.append(f"{of_host} {host:.2f} beside {of_device} {device:.2f}")
    return f"timing.sync: host and device, in seconds: {', '.join(told)}"
