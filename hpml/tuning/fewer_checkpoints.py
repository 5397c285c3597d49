"""Checkpoints of a job under tuning: what fewer of them would save, in words."""

import copy
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from hpml.formatting import in_s
from hpml.statistics import Estimate
from hpml.system.lightning_packages import twins
from hpml.trials.pace import Timed
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.trials.validation import is_validated
from hpml.tuning.changes.less_often import MUCH, SELDOM
from hpml.tuning.epoch_trials import Checks, saves

OURS = "trainer.enable_checkpointing=false would write none, and keep none"


def advice(subject: Subject, whole: Sequence[Timed], is_ours: bool) -> list[str]:
    """What checkpoints take of an epoch where that is much, and what fewer would save.

    `whole` are the whole epochs that were tried.
    """
    if len(whole) < 2 or not is_much(whole):  # a first one may import what it needs
        return []
    saved_s, rest_s = _seconds_of(whole)
    ways = OURS if is_ours else "; ".join(_ways(subject, saved_s, rest_s))
    return [f"checkpoints take {_seconds(saved_s)} of an epoch{ways and f'; {ways}'}"]


def is_much(whole: Sequence[Timed]) -> bool:
    """Whether they take much of an epoch."""
    saved_s, rest_s = _seconds_of(whole)
    return saved_s > 0 and saved_s >= MUCH * rest_s


def _seconds_of(whole: Sequence[Timed]) -> tuple[float, float]:
    """Of an epoch's checkpoints, and of the rest."""
    every = [timed for timed in whole if timed.saved_s]
    saved_s = min((timed.saved_s for timed in every), default=0.0)
    return saved_s, min((timed.epoch_s - timed.saved_s for timed in every), default=0.0)


def _ways(subject: Subject, saved_s: float, rest_s: float) -> list[str]:
    """Arguments of the ModelCheckpoint that writes most, with their prices."""
    trainer: Any = subject.trainer
    steps = subject.epoch_steps or 1
    window = accumulated(trainer)
    checks = Checks.of(trainer, steps, is_validated=is_validated(subject))

    def files(callback: Any, **settings: Any) -> float:
        changed = copy.copy(callback)
        vars(changed).update(settings)
        return saves(changed, -(-steps // window), checks)

    kinds = twins(ModelCheckpoint)
    found = [each for each in trainer.callbacks if isinstance(each, kinds)]
    total, most = sum(map(files, found)), max(found, key=files)
    by_epochs = bool(most._every_n_epochs)
    kept = "_every_n_epochs" if by_epochs else "_every_n_train_steps"
    own_s, now = saved_s * files(most) / total, getattr(most, kept)
    epochs = trainer.max_epochs
    ends = epochs is not None and epochs >= 0
    last = epochs * (1 if by_epochs else steps / window) if ends else float("inf")
    fewer = [now * times for times in SELDOM if now * times <= last]
    left_s = {n: saved_s * files(most, **{kept: n}) / total for n in fewer}
    left_s = {n: seconds for n, seconds in left_s.items() if seconds < own_s}
    ways = []
    if left_s:
        enough = (n for n, seconds in left_s.items() if seconds < MUCH * rest_s)
        every = next(enough, max(left_s))
        what = f"{every} {'epochs' if by_epochs else 'steps'}"
        price = f"a crash then loses up to {what}, and of those between none is kept as the best"
        saved = _seconds(own_s - left_s[every])
        ways.append(f"ModelCheckpoint({kept[1:]}={every}) would save {saved}: {price}")
    if most.save_last is True and most.save_top_k:
        saved = _seconds(own_s - saved_s * files(most, save_last="link") / total)
        price = "last.ckpt is then a link to what was kept last"
        ways.append(f'save_last="link" would save {saved}: {price}')
    return ways


def _seconds(value: float) -> str:
    return in_s(Estimate(value, None, 1))
