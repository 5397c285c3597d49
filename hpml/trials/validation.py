"""What a validation costs, by the first batches of each of its loaders."""

import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import callbacks
from lightning.pytorch.utilities.model_helpers import is_overridden

from hpml.errors import UserError
from hpml.loading.global_state import seeded_folder
from hpml.system.lightning_packages import twin_for
from hpml.timing.epoch_times import NS_PER_S
from hpml.trials.intervention import Intervention, computing_with, interrupts_raised
from hpml.trials.job_data import batches_ahead
from hpml.trials.module_copies import preserve_attributes
from hpml.trials.subject import Subject
from hpml.trials.trainer import trial_trainer

LOOKED_AT = 4  # batches


@dataclass(frozen=True)
class Validation:
    """One check of a job's validation, as it would be at the pace of the first batches."""

    batch_s: float  # a mean of all batches, each at the pace of its loader
    batches: int  # of a whole check
    looked_at: int
    # what a check takes besides: its hooks, the start of its loader; hooks at its end, of one whose
    # workers persist
    once_s: float = 0.0
    loaders: int = 1
    ahead: int = 0  # batches that workers of a loader keep ready

    @property
    def check_s(self) -> float:
        return self.batches * self.batch_s + self.once_s


def validation_of(
    subject: Subject,
    given: Any = None,
    intervention: Intervention = Intervention(),  # noqa: B008 - it is frozen
    batches: int = LOOKED_AT,
    ahead: int = 0,
) -> Validation | None:
    """Validates a few batches of each loader of a job; None where it has no validation.

    Workers of a loader are known to keep `ahead` of them ready: where these are more, it is looked
    at once more, past them.

    `given` are the loaders that `fit` would get; else the data module has them, or the module. An
    intervention's settings and threads hold, but for those of the training's loader. A fit may
    follow. Raises what the job raises, and UserError for a validation of no known length. Several
    ranks call this together, and get the slowest one's.
    """

    def look(batches: int) -> list["_Seen | None"]:
        return subject.agreement.tried(lambda: _validated(subject, given, intervention, batches))

    found = look(batches + ahead)
    # whose first batches are ready, or start the workers
    ready = max((each.ahead for each in found if each is not None), default=0)
    if ready > ahead:
        found = look(batches + ready)
    known = [seen for each in found if (seen := _of(each, batches)) is not None]
    if len(known) < len(found):
        return None
    return replace(max(known, key=attrgetter("check_s")), ahead=max(ready, ahead))


def _validated(
    subject: Subject, given: Any, intervention: Intervention, batches: int
) -> "_Seen | None":
    """What this rank sees of so many batches; None where it has no validation."""
    module: Any = subject.network
    if not is_overridden("validation_step", module, twin_for(module, L.LightningModule)):
        return None
    how = Intervention(hooks=True, settings=intervention.settings)
    with (
        seeded_folder(0, subject.data.given) as folder,
        preserve_attributes(module),
        computing_with(intervention.threads),
        subject.with_settings(intervention),
    ):
        return _look(subject, folder, given, batches, how)


def _of(seen: "_Seen | None", batches: int) -> Validation | None:
    """By the last so many batches of each loader; None where there are none.

    Raises UserError as above.
    """
    loaders = [each for each in seen.loaders if each.ends] if seen is not None else []
    if any(each.length is None for each in loaders):
        raise UserError("nothing tells how many batches it has")
    whole = sum(each.length or 0 for each in loaders)
    if seen is None or not whole:
        return None
    begun_s, steps_s, once_s = seen.begun_s, 0.0, seen.end_s
    for loader in loaders:
        took_s, count = loader.ends[-1] - begun_s, len(loader.ends)
        usual = [after - before for before, after in pairwise(loader.ends[-batches:])]
        batch_s = fmean(usual or [took_s / count])
        steps_s += (loader.length or 0) * batch_s
        # workers that persist start once in a fit, and before the first batch of each look
        once_s += 0.0 if loader.persists else took_s - count * batch_s
        begun_s = loader.ends[-1]
    looked_at = sum(len(each.ends[-batches:]) for each in loaders)
    return Validation(steps_s / whole, whole, looked_at, max(0.0, once_s), len(loaders))


@dataclass(frozen=True)
class Validating:
    """How validation is timed beside fits."""

    given: Any  # the loaders that `fit` would get
    batches: int  # of each loader, that are looked at
    ahead: int = 0  # that workers of a loader are known to keep ready

    def seconds(self, subject: Subject, intervention: Intervention) -> float:
        """What an epoch has of it with an intervention; 0 where it has none."""
        every = intervention.settings.check_every
        checks = 1 / every if every else checks_an_epoch(subject.trainer)
        if not checks:
            return 0.0
        seen = validation_of(subject, self.given, intervention, self.batches, self.ahead)
        return checks * seen.check_s if seen else 0.0


@dataclass
class _Loader:
    """One of those that are validated in turn, or all that give each batch together."""

    length: int | None  # batches of a whole check
    persists: bool  # its processes
    ends: list[float] = field(default_factory=list)  # of its batches


@dataclass
class _Seen:
    loaders: list[_Loader] = field(default_factory=list)
    ahead: int = 0  # batches that workers of a loader keep ready
    begun_s: float = 0.0
    end_s: float = 0.0  # after the last batch


def _look(
    subject: Subject, folder: Path, given: Any, batches: int, how: Intervention
) -> _Seen | None:
    """Validates so many batches of each loader; None where nobody has one."""
    module: Any = subject.network
    seen = _Seen()

    def begin(*_: Any) -> None:
        combined, limit = loop._combined_loader, subject.trainer.limit_val_batches
        every = combined.flattened
        lengths = [_limited(sized_len(each), limit) for each in every]
        persist = [getattr(each, "persistent_workers", False) for each in every]
        if combined._mode != "sequential":
            lengths, persist = [_together(lengths, combined._mode)], [all(persist)]
        seen.loaders = list(map(_Loader, lengths, persist))
        seen.ahead = max(map(batches_ahead, every), default=0)

    def end(*given: Any) -> None:  # Trainer, module, output, batch and its number
        (loader,) = given[5:] or (0,)  # told where there are several in turn
        seen.loaders[loader].ends.append(_now_s())

    def end_all(*_: Any) -> None:
        ends = [end_s for each in seen.loaders for end_s in each.ends]
        seen.end_s = _now_s() - max(ends, default=seen.begun_s)

    trainer = trial_trainer(subject.trainer, folder, True, how)
    trainer.limit_val_batches = batches
    loop: Any = trainer.validate_loop
    # by `no_grad`: what the module keeps of inference mode, no fit could train with
    loop.inference_mode = False
    reset = loop.reset  # once the loaders are made, which a fit does once

    def begin_all() -> None:
        seen.begun_s = _now_s()
        reset()

    loop.reset = begin_all
    owner, data = _source(subject, trainer, module, given)
    if owner is not None and not is_overridden("val_dataloader", owner, _base(owner)):
        return None
    every: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    kind = twin_for(trainer, callbacks.LambdaCallback)
    hooks = {"on_validation_start": begin, "on_validation_batch_end": end}
    every.append(kind(**hooks, on_validation_end=end_all))
    with interrupts_raised():
        trainer.validate(module, **data, verbose=False)
    return seen


def _now_s() -> float:
    return time.perf_counter_ns() / NS_PER_S


def _source(subject: Subject, trainer: Any, module: Any, given: Any) -> tuple[Any, dict[str, Any]]:
    """Whose `val_dataloader` it is, None for loaders that are given; and what validates them."""
    if given is not None:
        return None, {"dataloaders": given}
    if subject.data.is_module:
        owner = subject.data.module_for(trainer)
        return owner, {"datamodule": owner}
    return module, {}


def _base(owner: Any) -> Any:
    is_module = hasattr(owner, "training_step")
    return twin_for(owner, L.LightningModule if is_module else L.LightningDataModule)


def _limited(length: int | None, limit: int | float) -> int | None:
    if length is None:
        return limit if isinstance(limit, int) else None
    return min(length, limit) if isinstance(limit, int) else int(length * limit)


def _together(lengths: list[int | None], mode: str) -> int | None:
    """Batches of several loaders that give each of them together, as a CombinedLoader does."""
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths):
        return None
    return min(known) if mode == "min_size" else max(known)


def is_validated(subject: Subject) -> bool:
    """Whether a fit of the job would validate, however often."""
    module, wanted = subject.network, bool(subject.trainer.limit_val_batches)
    return wanted and is_overridden("validation_step", module, twin_for(module, L.LightningModule))


def has_loader(subject: Subject, given: Any) -> bool:
    """Whether anybody has a loader for validation; `given` is what `fit` would get."""
    owner = subject.data.given if subject.data.is_module else subject.network
    return given is not None or is_overridden("val_dataloader", owner, _base(owner))


def checks_an_epoch(trainer: Any) -> float | None:
    """How often an epoch ends with a validation; None for one that is by steps, or within it."""
    every = trainer.check_val_every_n_epoch
    interval = getattr(trainer, "val_check_interval", None)  # which none by the clock has
    if not every or interval != 1.0 or not trainer.limit_val_batches:
        return None
    return 1 / float(every)
