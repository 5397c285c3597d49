"""An epoch's time and all of its figures; live windows; the verdict."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from hpml.callbacks import epoch_interference
from hpml.callbacks.batch_size import BatchSizes
from hpml.callbacks.chart_layout import lay_out
from hpml.callbacks.data_load_timer import DataLoadTimer
from hpml.callbacks.epoch_counts import EpochCounts
from hpml.callbacks.epoch_interference import EpochInterference
from hpml.callbacks.phase_timer import PhaseTimer, in_its_fit
from hpml.callbacks.progress_bar import print_around
from hpml.callbacks.ranks import Ranks
from hpml.callbacks.train_timer import TrainTimer
from hpml.callbacks.trainer_facts import logging_step
from hpml.callbacks.verdict_lines import VerdictLines
from hpml.records.epoch_lines import EpochLines
from hpml.records.phases import OTHER, PHASES, TIMES
from hpml.records.run_record import EpochRecord
from hpml.system.threads import ranges
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import NS_PER_S, EpochTimes, by_phase
from hpml.timing.live_shares import LiveShares
from hpml.timing.live_windows import Windows

log = logging.getLogger("hpml")

# Lightning brings the weights and `callback_metrics` back, and calls no callback at home.
ELSEWHERE = (
    "Spawned processes trained: the record has their epochs (phase_timers(record=...)), "
    "the timers that were given to the Trainer have none"
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
    | `machine/lost_s` | epoch | at most lost to other programs, limits and the machine |
    | `machine/own_s` | epoch | waited for the job's own threads and workers |
    | `machine/main_waited_s` | epoch | the main thread waited for a core |
    | `machine/others_cpu_s` | epoch | CPU time of other programs |
    | `machine/pressure_s`, `machine/load` | epoch | somebody waited for a core; the load |
    | `machine/gpu0_power_w` … | epoch | of each GPU, where nvidia-ml-py is installed |

    The progress bar shows `data_wait`, the last window's share of waiting for data.

    A batch's samples are counted by BatchSizes; throughput is left out where it is not sure of one.

    `epochs` has an EpochRecord for each, `startup_s` is of the fit before its first epoch,
    `windows` keeps what the windows hold. Where Lightning spawns the processes that train
    (`ddp_spawn`, `ddp_notebook`), they stay in those: the RunRecorder's file has them then.

    Args:
        every_n_steps: length of a window; None for no windows.
        sync: waits for the device at every border between phases: an audit, which slows training.
        say: prints a line; by default, around the progress bar to the terminal.
        facts: what the advice has to know; read off the Trainer if it is not given.
        flops_per_sample: forward and backward, for the achieved TFLOP/s.
        to_loggers: whether figures go to loggers, `callback_metrics` and the progress bar.
    """

    # the epoch, and every phase that has no timer of its own
    times: ClassVar = tuple(n for n in TIMES if n not in DataLoadTimer.times + TrainTimer.times)

    def __init__(
        self,
        every_n_steps: int | None = 50,
        sync: bool = False,
        say: Callable[[str], None] | None = None,
        facts: JobFacts | None = None,
        flops_per_sample: float | None = None,
        to_loggers: bool = True,
    ) -> None:
        super().__init__(to_loggers)
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: give at least 1, or None")
        self.sync = sync
        self.flops_per_sample = flops_per_sample
        self._facts = facts
        self._say = say
        self._every_n_steps = every_n_steps
        self._laid_out: set[str | None] = set()  # directories of loggers
        self._begin_fit()

    @property
    def logs(self) -> list[str]:
        return [*super().logs, "throughput/samples_per_s", *epoch_interference.LOGGED]

    @property
    def verdict(self) -> dict[str, str] | None:
        """The record's; None before the first."""
        return self._verdicts.latest

    @property
    def workers_affinity(self) -> list[str]:
        """The cores of each loading process, as the record's `environment` has them."""
        return list(map(ranges, self._interference.workers))

    @property
    def places(self) -> list[dict[str, Any]]:
        """Host, device and clock of each rank, as the record's `environment` has them."""
        return self._ranks.places

    def _begin_fit(self) -> None:
        self.startup_s: float | None = None
        self._live = LiveShares(self._every_n_steps)
        self.windows = Windows()
        self._interference = EpochInterference()
        self._ranks = Ranks()
        self._verdicts = VerdictLines(self._live, self._facts, self._interference, self._ranks)
        self._lines = EpochLines()
        self._counts = EpochCounts()
        self._batch_sizes = BatchSizes()
        self._warned = False

    @in_its_fit
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.begun_ns = self.clock.begun_ns
            if self.clock.device is not None:
                self.clock.device.sync |= self.sync
            if trainer.is_global_zero and self.to_loggers:
                lay_out(trainer.loggers, self._laid_out)

    @in_its_fit
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._interference.end()
        self._begin_fit()
        self._interference.begin(trainer)
        self._ranks.begin(trainer)

    @in_its_fit
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        samples = self._batch_sizes.samples(trainer, batch)
        self._counts.count(samples)
        self._ranks.batch_ended(self._counts.batches, self.clock)
        if self._live.step_ended(samples):
            self._look(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._counts.validation_begins(trainer.callback_metrics)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1 and self.profiler is not None:
            self.clock.end_validation_batches()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._counts.validation_ended(trainer.callback_metrics)

    @in_its_fit
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self._counts.batches and not self.epochs:
            log.warning(f"Lightning {L.__version__} does not tell where epochs begin")
        self._conclude(trainer, ended_well=True)
        if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
            self._print(trainer, [ELSEWHERE])

    @in_its_fit
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if self.profiler is not None:
            try:
                super().on_exception(trainer, pl_module, exception)
                self._print(trainer, self._lines.news(self.epochs))
                if self.begun:
                    self._conclude(trainer, ended_well=False)
            finally:
                self._interference.end()

    @in_its_fit
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        self._interference.end()  # where another callback has failed before this one was asked

    def open_epoch(self) -> dict[str, Any] | None:
        """The open epoch so far, in plain types, for `carry_over` in another process."""
        times = self.clock.open_epoch() if self.profiler is not None else None
        if times is None:
            return None
        seen = self._interference.open_epoch(_waiting_s(times))
        return {"times": times.as_dict(), **self._counts.as_dict(), "interference": seen}

    def carry_over(self, epoch: dict[str, Any] | None) -> None:
        """Continues an epoch that another process has begun; after `on_train_start`."""
        if epoch is not None and self.profiler is not None:
            self.clock.carry_over(EpochTimes.from_dict(epoch["times"]))
            self._counts.resume(epoch)
            self._interference.carry_over(epoch.get("interference"))

    def keep(self, trainer: L.Trainer, times: EpochTimes) -> dict[str, float]:
        self.startup_s = (self.clock.startup_ns or 0) / NS_PER_S
        if times.unmeasured and not self._warned:
            self._warned = True
            missing = ", ".join(sorted(f"time/{phase}_s" for phase in times.unmeasured))
            log.warning(
                f"Lightning {L.__version__} does not tell what {missing} needs; "
                "they and time/other_s are left out"
            )
        self._live.epoch_ended(times)
        epoch = self._counts.record(trainer, times, self.flops_per_sample)
        self._counts.begin_epoch()
        self.epochs.append(epoch)
        logged = self.figures(epoch.time)
        if epoch.samples_per_s is not None:
            logged["throughput/samples_per_s"] = epoch.samples_per_s
        seen = self._interference.epoch_ended(epoch.epoch, _waiting_s(times))
        if seen is not None:
            epoch.interference = seen.as_dict()
            logged |= epoch_interference.figures(seen)
        if trainer.world_size == 1:  # else once it is known what the other ranks lost
            self._print(trainer, self._lines.news(self.epochs))
        return logged

    def _over_ranks(self, trainer: L.Trainer, figures: dict[str, float]) -> dict[str, float]:
        """Puts into the epoch's record what its times are on all ranks."""
        epoch = self.epochs[-1]
        self._ranks.epoch_ended(trainer, epoch, self.clock.epochs[-1])
        if epoch.interference is not None:
            epoch.interference = self._interference.of_all_ranks(trainer, epoch.epoch)
        self._print(trainer, self._lines.news(self.epochs))
        if not (epoch.interference or {}).get("disturbed"):  # which makes any of them late
            self._print(trainer, self._ranks.news())
        return super()._over_ranks(trainer, figures)

    def _look(self, trainer: L.Trainer) -> None:
        if not self.clock.in_epoch:
            return
        device = self.clock.device
        window = self._live.look(self.clock.times(), device.times() if device else None)
        if window is not None and self.to_loggers:
            share = window["data_s"] / window["wall_s"] if window["wall_s"] else 0.0
            trainer.progress_bar_metrics["data_wait"] = f"{share:.0%}"  # type: ignore[assignment]
            if "samples_per_s" in window:
                window["samples_per_s"] *= trainer.world_size
            samples = (
                window["samples_per_s"] * window["wall_s"] if "samples_per_s" in window else None
            )
            self.windows.add({**window, "steps": self._every_n_steps, "samples": samples})
            figures = {f"window/{name}": value for name, value in window.items()}
            for logger in trainer.loggers:
                logger.log_metrics(figures, step=logging_step(trainer))
        self._interference.look()
        self._print(trainer, self._verdicts.news(trainer))

    def _conclude(self, trainer: L.Trainer, ended_well: bool) -> None:
        self._interference.end()
        before = self._verdicts.latest
        lines = self._verdicts.conclude(trainer, all_ranks=ended_well)
        if not self.epochs:  # of which the verdict would be
            self._verdicts.latest = before
        elif lines:
            self._print(trainer, [*self._interference.sentences(), *lines])
            if self.sync and self.epochs[0].device_time is not None:
                self._print(trainer, [_audit(self.epochs)])

    def _print(self, trainer: L.Trainer, lines: list[str]) -> None:
        if trainer.is_global_zero:
            for line in lines:
                self._say(line) if self._say else print_around(trainer, line)


def _waiting_s(times: EpochTimes) -> float:
    """How long this process may have waited for its workers."""
    here_ns = by_phase(times.here_ns)
    return (here_ns["data"] + here_ns["validation"]) / NS_PER_S


def _audit(epochs: list[EpochRecord]) -> str:
    """How far the host's clock, which waited at every border, is from the device's own."""
    pairs = []
    for key, on_device in ((p.key, f"{p.device_kind}_s") for p in PHASES if p.device_kind):
        if key != OTHER.key:
            host_s = sum(epoch.time[key] or 0.0 for epoch in epochs)
            device_s = sum((epoch.device_time or {}).get(on_device, 0.0) for epoch in epochs)
            pairs.append(f"{key} {host_s:.2f} beside {on_device} {device_s:.2f}")
    return f"timing.sync: host and device, in seconds: {', '.join(pairs)}"
