"""Validation of a job under tuning: what it adds to an epoch, and whether the trials time it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from hpml.errors import first_line
from hpml.trials.subject import Subject
from hpml.trials.validation import (
    LOOKED_AT,
    Validating,
    Validation,
    checks_an_epoch,
    has_loader,
    is_validated,
    validation_of,
)
from hpml.tuning.change import Change
from hpml.tuning.changes.less_often import of_validation, seldom_enough

LEFT_OUT = "validation that comes by steps, or within an epoch, is left out of its time"
ENDLESS = "validation is left out: nothing tells how many steps come before it"
UNLOADED = "validation is left out: nobody has its loader, which hpml.tune takes as val_dataloaders"
SHARE = 0.5  # of a trial's fit, that looking at validation may take besides


@dataclass(frozen=True)
class EpochValidation:
    """An epoch's checks as it is; where they are much of it, `timed` says how trials have them.

    `proving` says how whole epochs have them, however little they are.
    """

    seen: Validation | None = None
    an_epoch: float = 0.0
    timed: Validating | None = None
    changes: list[Change] = field(default_factory=list)  # that are tried of it
    proving: Validating | None = None
    # the change by which they are little beside so many seconds; None where they are, or cannot be
    fewer: Callable[[float], Change | None] = lambda rest_s: None

    @property
    def seconds(self) -> float:
        """Of an epoch."""
        return self.an_epoch * self.seen.check_s if self.seen else 0.0


def epoch_validation(
    subject: Subject,
    given: Any,
    epoch_s: float,
    trial_s: float,
    is_ours: bool,
    also: Collection[str],
) -> EpochValidation:
    """Looks at a few batches of validation; `given` are the loaders that `fit` would get.

    `epoch_s` is an epoch without them, `trial_s` what the fit of a trial takes.
    """
    an_epoch = checks_an_epoch(subject.trainer)
    is_loaded = is_validated(subject) and has_loader(subject, given)
    if is_validated(subject) and not is_loaded and not is_ours:
        subject.notes.append(UNLOADED)
    if an_epoch is None or not subject.epoch_steps:
        if is_loaded:
            subject.notes.append(LEFT_OUT if an_epoch is None else ENDLESS)
        return EpochValidation()
    try:
        seen = validation_of(subject, given)
    except Exception as error:
        subject.notes.append(f"validation could not be looked at ({first_line(error)})")
        return EpochValidation()
    if seen is None:
        return EpochValidation(None, an_epoch)

    def fewer(rest_s: float) -> Change | None:
        every = seldom_enough(seen.check_s, an_epoch, rest_s, subject.trainer.max_epochs)
        return of_validation(subject, every, is_ours) if every is not None else None

    if seldom_enough(seen.check_s, an_epoch, epoch_s) is None:
        few = Validating(given, min(seen.batches, LOOKED_AT), seen.ahead)
        return EpochValidation(seen, an_epoch, proving=few, fewer=fewer)
    change = fewer(epoch_s)
    tried = [c for c in (change,) if c and (not c.only_asked or c.is_asked_for(also))]
    batches = round(SHARE * trial_s / max(seen.batch_s, 1e-6) / seen.loaders)  # of each
    timed = Validating(given, min(seen.batches, max(LOOKED_AT, batches)), seen.ahead)
    return EpochValidation(seen, an_epoch, timed, tried, timed, fewer)
