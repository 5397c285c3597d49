"""What an epoch takes, by short fits: by its steps, or whole, with all that comes once in it."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import callbacks

from hpml.errors import reason
from hpml.system.lightning_packages import twin_for, twins
from hpml.timing.epoch_times import NS_PER_S
from hpml.trials.intervention import Intervention
from hpml.trials.job_loader import Loading
from hpml.trials.pace import STEPS_SHOWN, Pace, Timed
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.trials.validation import Validating, is_validated

# An epoch of no more steps than so many trials have is trained whole: a first one, then these.
FEW_TRIALS, MOST_EPOCHS = 2, 3
# Weights, and what optimizers keep of them; a file may take such a part of the disk that is free.
STATES, OF_DISK = 3, 0.25
UNKNOWN_ENDS = "nothing tells when a trial's epoch ends"


def timed_fit(
    subject: Subject,
    intervention: Intervention,
    loading: Loading,
    lengths: tuple[int, int],
    seed: int,
    validating: Validating | None = None,
) -> Timed:
    """An epoch by one short fit, and by a few batches of validation where that is timed.

    It is the time of its steps, with the start that workers make: nothing else that comes once in
    it.
    """
    pace = subject.fit(intervention, *lengths, seed=seed)
    seconds = epoch_s(steps_of(subject, intervention), loading, pace)
    return _validated(Timed(seconds, pace), subject, intervention, validating)


def whole_fit(
    subject: Subject,
    intervention: Intervention,
    loading: Loading,
    lengths: tuple[int, int],
    seed: int,
    validating: Validating | None = None,
    left_out: str = "",
    in_part: bool = False,
) -> Timed:
    """The same with all that comes once in an epoch, `once_s`: its ends and checkpoints.

    An epoch of few steps is trained whole, more than once, by one process; not where it is to be
    trained `in_part`. Else a few steps are, as by `timed_fit`, and what this short epoch takes
    besides them is added. Where its ends fail for want of a whole training, it is the time of the
    steps; `left_out` says why. Several ranks call this together, and get the time of the one that
    takes longest. With `left_out`, a reason, it is the time of the steps from the beginning.
    """
    if left_out or subject.epoch_steps is None:
        timed = timed_fit(subject, intervention, loading, lengths, seed, validating)
        return replace(timed, left_out=left_out)
    steps, trial = steps_of(subject, intervention), sum(lengths) + 1
    # of several ranks one that fails at an epoch's end would leave the others in the next one
    is_short = not in_part and subject.agreement.ranks == 1 and steps <= FEW_TRIALS * trial
    given = (0, max(1, steps - 1)) if is_short else lengths
    epochs = 1 + min(MOST_EPOCHS, max(1, trial // steps)) if is_short else 1
    settings, validated = intervention.settings, is_validated(subject)
    saving = Saving.of(subject.trainer, steps, settings, validated)
    ends = Ends(epochs, saving, getattr(torch, subject.device.type).synchronize)
    pace = None
    try:
        pace = subject.fit(intervention, *given, seed=seed, adapt=ends.attach)
    except Exception as error:  # on all ranks; a later epoch may miss what validation does
        ends.failed(error)
    why = next(filter(None, subject.agreement.every(ends.why)), "")
    if pace is None or (why and is_short):
        pace = subject.fit(intervention, *lengths, seed=seed)
    seconds = epoch_s(steps, loading, pace)
    once_s = save_s = 0.0
    if not why:
        save_s = saving.times * ends.save_s
        once_s = ends.rest_s(pace.step_s) + save_s + (0.0 if loading.workers else _waited_s(pace))
        seconds += once_s
        if is_short:
            seconds = ends.epoch_s + (steps - sum(given) - 1) * pace.step_s + save_s
        seconds, once_s, save_s = (
            max(subject.agreement.every(own)) for own in (seconds, once_s, save_s)
        )
    timed = Timed(seconds, pace, once_s=once_s, saved_s=save_s, left_out=why)
    return _validated(timed, subject, intervention, validating)


def _validated(
    timed: Timed, subject: Subject, intervention: Intervention, validating: Validating | None
) -> Timed:
    """With an epoch's part of validation, where that is timed."""
    checks_s = 0.0 if validating is None else validating.seconds(subject, intervention)
    return replace(timed, epoch_s=timed.epoch_s + checks_s, checks_s=checks_s)


def epoch_s(steps: int, loading: Loading, pace: Pace) -> float:
    """Seconds of so many steps at a pace, with what an epoch's start costs with workers.

    Those that persist load ahead meanwhile: known where an epoch began among the measured steps.
    """
    start_s = pace.start_s or 0.0 if loading.workers else 0.0
    return steps * pace.step_s + (_waited_s(pace) if loading.starts_anew else start_s)


def _waited_s(pace: Pace) -> float:
    """By how much longer the very first batch was waited for."""
    return max(0.0, (pace.first_s or 0.0) - pace.wait_s)


def steps_of(subject: Subject, intervention: Intervention) -> int:
    """Of an epoch, or as many as stand for one; fewer where a batch has more samples."""
    steps = subject.epoch_steps or STEPS_SHOWN
    return -(-steps // max(1, intervention.settings.batch_times))


@dataclass(frozen=True)
class Saving:
    """Checkpoints that an epoch writes, if all are better than those before."""

    times: float
    weights_only: bool

    @classmethod
    def of(
        cls,
        trainer: Any,
        steps: int,
        settings: Settings = Settings(),  # noqa: B008 - it is frozen
        is_validated: bool = True,
    ) -> "Saving":
        """Those of Lightning's ModelCheckpoint, in an epoch of so many steps; none by the clock."""
        kinds, window = twins(callbacks.ModelCheckpoint), accumulated(trainer, settings)
        found = [each for each in trainer.callbacks if isinstance(each, kinds)]
        weights_only = all(each.save_weights_only for each in found)
        checks = Checks.of(trainer, steps, settings, is_validated)
        return cls(sum(saves(each, -(-steps // window), checks) for each in found), weights_only)


@dataclass(frozen=True)
class Checks:
    """Validations as a ModelCheckpoint waits for them."""

    times: float  # in an epoch that has some; 0 where the clock decides
    every: int  # epochs from one that has some to the next one
    are_usual: bool  # one at the end of each, or none at all: files are written then all the same

    @classmethod
    def of(
        cls,
        trainer: Any,
        steps: int,
        settings: Settings = Settings(),  # noqa: B008 - it is frozen
        is_validated: bool = True,
    ) -> "Checks":
        """Of an epoch of so many steps."""
        every = settings.check_every or trainer.check_val_every_n_epoch
        interval = getattr(trainer, "val_check_interval", None)  # None for one by the clock
        is_whole = interval == 1.0 or (not is_validated and interval is not None)
        times, are_usual = 0.0, every == 1 and is_whole
        if is_validated and interval:
            is_part = isinstance(interval, float)
            batches = max(1, int(steps * interval)) if is_part else interval
            # counted on from epoch to epoch where these do not tell
            times = steps / batches if every is None else float(steps // batches)
        return cls(times, every or 1, are_usual)


def saves(callback: Any, steps: int, checks: Checks) -> float:
    """Files that one of them writes, in so many steps of the optimizer; a link is none."""
    every_steps, every_epochs = callback._every_n_train_steps, callback._every_n_epochs
    has_own, last = callback.save_top_k != 0, callback.save_last
    at_end = callback._save_on_train_epoch_end
    is_at_end = checks.are_usual if at_end is None else at_end
    ends, epochs = (1.0, 1) if is_at_end else (checks.times, checks.every)
    files = has_own + (last is True)
    if every_epochs:  # without one of its own no last one comes before the training's end
        return has_own * files * ends / math.lcm(epochs, every_epochs)
    if not every_steps:
        return 0.0
    if has_own or last != "link":
        return files * steps / every_steps
    # nothing is there to link to: a file, and one more at an end whose step is not written yet
    is_written = math.gcd(steps * epochs, every_steps) / every_steps
    return steps / every_steps + ends / epochs * (1 - is_written)


@dataclass(eq=False)
class Ends:
    """When the epochs of a trial begin and end, and what a checkpoint takes then."""

    epochs: int
    saving: Saving
    synchronize: Callable[[], None]  # waits for the device
    save_s: float = 0.0
    why: str = UNKNOWN_ENDS  # nothing of it is known; empty where it is
    _span_s: float = 0.0
    _stood_ns: int = 0  # the loader's clock, which these seconds go by
    _at_s: list[float] = field(default_factory=list)

    def attach(self, trainer: Any, module: Any) -> None:
        """Has a trial's Trainer train so many epochs, and tell when."""
        self._at_s, self._stood_ns, self.why = [], 0, UNKNOWN_ENDS
        trainer.fit_loop.max_epochs = self.epochs
        kind: Any = twin_for(trainer, callbacks.LambdaCallback)
        own = {"on_train_epoch_start": self._mark, "on_train_end": self._end}
        failed = {"on_exception": lambda trainer, module, error: self.failed(error)}
        trainer.callbacks.insert(0, kind(**own, **failed))

    def failed(self, error: BaseException) -> None:
        """Says why ends are not known, if they are not."""
        if self.why == UNKNOWN_ENDS:
            self.why = f"whole epochs cannot be tried ({reason(error)})"

    @property
    def epoch_s(self) -> float:
        """A mean, without the first one where there are others."""
        begun_s = self._at_s[1 if self.epochs > 1 else 0]
        return (self._at_s[-1] - begun_s) / max(1, self.epochs - 1)

    def rest_s(self, step_s: float) -> float:
        """What the last epoch took besides its steps, of which the last one is a usual one."""
        return max(0.0, self._at_s[-1] - self._at_s[-2] - self._span_s - step_s)

    def _mark(self, trainer: Any, *_: Any) -> None:
        self.synchronize()
        self._stood_ns += trainer.train_dataloader.stood_ns
        self._at_s.append((time.perf_counter_ns() - self._stood_ns) / NS_PER_S)

    def _end(self, trainer: Any, *_: Any) -> None:
        self._mark(trainer)
        self._span_s, self.why = trainer.train_dataloader.span_s, ""
        if self.saving.times:
            self._save(trainer)

    def _save(self, trainer: Any) -> None:
        begun_ns = time.perf_counter_ns()
        try:
            _check_disk(trainer)
            if trainer.world_size == 1:
                self._save_by_callback(trainer)
            else:
                self._save_alone(trainer)
        except Exception as error:
            self.why = f"a checkpoint could not be tried ({reason(error)})"
        self.save_s = (time.perf_counter_ns() - begun_ns) / NS_PER_S

    def _save_by_callback(self, trainer: Any) -> None:
        """As Lightning's own does, whose work is as long as a small file's writing."""
        kind: Any = twin_for(trainer, callbacks.ModelCheckpoint)
        saver = kind(
            Path(trainer.default_root_dir) / "checkpoints",
            save_on_train_epoch_end=True,
            save_weights_only=self.saving.weights_only,
        )
        saver.setup(trainer, trainer.lightning_module, "fit")
        saver.on_train_epoch_end(trainer, trainer.lightning_module)

    def _save_alone(self, trainer: Any) -> None:
        """Without an exchange with other ranks, which a failure here would leave in it."""
        dump = trainer._checkpoint_connector.dump_checkpoint
        file = Path(trainer.default_root_dir) / "trial.ckpt"
        trainer.strategy.save_checkpoint(dump(weights_only=self.saving.weights_only), file)


def _check_disk(trainer: Any) -> None:
    weights = sum(each.nbytes for each in trainer.lightning_module.parameters())
    if STATES * weights > OF_DISK * shutil.disk_usage(trainer.default_root_dir).free:
        raise OSError("it would fill much of the temporary folder's disk")
