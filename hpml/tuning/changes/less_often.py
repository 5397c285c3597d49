"""What may act less often of anybody's Trainer: callbacks, loggers, validation."""

from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging
from lightning.pytorch.loggers.logger import DummyLogger

from hpml.records.phases import OVERHEAD
from hpml.system.lightning_packages import twins
from hpml.trials.resting_callbacks import BATCH_HOOKS, RESTING_BATCHES, interval_kept, interval_of
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.tuning.change import SCRIPT, TRAINER, VALIDATION, Change

LOG_EVERY = 50  # steps, as Lightning's Trainer has it
# What validation may add to an epoch, and epochs between two checks that would be enough.
MUCH, SELDOM = 0.1, (2, 5, 10)


def of_logging(subject: Subject) -> Iterator[Change]:
    trainer = subject.trainer
    logs = [each for each in trainer.loggers if not isinstance(each, twins(DummyLogger))]
    every = int(getattr(trainer, "log_every_n_steps", 0))
    if logs and 0 < every < LOG_EVERY:
        yield Change(
            name=f"log_every_n_steps={LOG_EVERY}",
            slots=frozenset({"log_every"}),
            causes=frozenset({OVERHEAD}),
            price=f"a value every {LOG_EVERY} steps, not every {every}",
            settings=Settings(log_every=LOG_EVERY),
            lines=((TRAINER, f"log_every_n_steps={LOG_EVERY}"),),
            acts=(every, LOG_EVERY),
        )


def of_callbacks(subject: Subject) -> Iterator[Change]:
    for name, callback in subject.callbacks.items():
        if not acts_in_steps(callback) or isinstance(callback, twins(WeightAveraging)):
            continue
        kept = interval_kept(callback)
        now: int = vars(callback)[kept] if kept is not None else 1
        if not 0 < now < RESTING_BATCHES:  # with 0 a progress bar is off
            continue
        line = f"# of {name}: {interval_of(callback)}={RESTING_BATCHES}"
        if kept is None:
            line = f"# {name}: return from its hooks unless batch_idx % {RESTING_BATCHES} == 0"
        yield Change(
            name=f"{name} at every {RESTING_BATCHES}th batch",
            slots=frozenset({f"callback {name}"}),
            causes=frozenset({OVERHEAD}),
            price="what it does comes less often: is that enough?",
            settings=Settings(rests=frozenset({name})),
            lines=((TRAINER if kept else SCRIPT, line),),
            acts=(now, RESTING_BATCHES),
        )


def seldom_enough(
    check_s: float, checks: float, epoch_s: float, epochs: int | None = None
) -> int | None:
    """Epochs between two validations that add little to one without; None where it is so now.

    `checks` are those of an epoch as it is, `check_s` what one takes, `epoch_s` the rest. A
    training has so many `epochs`, of which the last one is validated; None or less for no end.
    """
    most = epochs if epochs is not None and epochs >= 0 else max(SELDOM)
    fewer = [every for every in SELDOM if every * checks > 1 and every <= most]
    if not fewer or check_s * checks < MUCH * epoch_s:
        return None
    return next((every for every in fewer if check_s / every < MUCH * epoch_s), fewer[-1])


def of_validation(subject: Subject, every: int, is_ours: bool) -> Change:
    """A check in so many epochs; another training where a schedule or early stop waits for it."""
    callbacks: list[L.Callback] = subject.trainer.callbacks  # type: ignore[attr-defined]
    stops = any(isinstance(each, twins(EarlyStopping)) for each in callbacks)
    argument = f"check_val_every_n_epoch={every}"
    return Change(
        name=f"trainer.{argument}" if is_ours else argument,
        slots=frozenset({VALIDATION}),
        causes=frozenset({VALIDATION}),
        price=f"best and last of one epoch in {every} only",
        settings=Settings(check_every=every),
        keys={"trainer.check_val_every_n_epoch": every},
        lines=((TRAINER, argument),),
        only_asked=stops or subject.waits_for_plateau,
    )


def acts_in_steps(callback: Any) -> bool:
    """Whether its class has a hook of its own in a training step."""
    bases = twins(L.Callback)
    return any(
        getattr(type(callback), hook) not in [getattr(base, hook, None) for base in bases]
        for hook in BATCH_HOOKS
    )
