"""Measures one number of workers: the loader alone, then the training end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hpml.errors import UserError

if TYPE_CHECKING:
    from hpml.trials.subject import Subject
    from hpml.workers.search import Measured

WARM_UP, FEWEST_STEPS, MOST_STEPS = 2, 2, 2000


BURSTS = 3


def measure(config: dict[str, Any], seconds: float) -> Measured:
    """Measures a configuration's job: see `measure_subject`. Raises whatever the job raises."""
    from hpml.trials.configured import subject_of

    cfg = OmegaConf.create(config)
    assert isinstance(cfg, DictConfig)
    return measure_subject(subject_of(cfg), seconds)


def measure_subject(subject: Subject, seconds: float) -> Measured:
    """The loader alone, then the training end to end, for some seconds each.

    Raises UserError for data of which an epoch is a single batch.
    """
    from hpml.diagnosis.diagnosis import STEPS_TOLD
    from hpml.trials.intervention import Intervention
    from hpml.workers.search import Measured

    ahead = subject.batches_ahead()
    if subject.epoch_steps == 1:
        raise UserError(
            "an epoch is a single batch: nothing is loaded ahead; "
            "give more data, or a smaller data.batch_size"
        )
    pilot = subject.load(ahead + WARM_UP, ahead + FEWEST_STEPS, seed=0)
    # workers on few cores finish in bursts: of several of these the mean is right
    steps = max(_steps(seconds, pilot.step_s), BURSTS * ahead)
    alone = subject.load(ahead + WARM_UP, steps, seed=1)
    whole = subject.fit(Intervention(), 1, FEWEST_STEPS, seed=0)
    if FEWEST_STEPS * whole.step_s < seconds:
        # a step much slower than that finds its batch ready from the beginning
        waits = alone.step_s > whole.step_s / 2
        slowest_s = max(whole.step_s, alone.step_s)
        warm_up, steps = WARM_UP, _steps(seconds, slowest_s)
        if waits:
            warm_up, steps = warm_up + ahead, max(steps, BURSTS * ahead)
        whole = subject.fit(Intervention(), warm_up, steps, seed=1)
    start_s = alone.start_s or 0.0
    if subject.epoch_steps is None:
        return Measured(STEPS_TOLD * alone.step_s, STEPS_TOLD * whole.step_s)
    steps = subject.epoch_steps
    loading_s, epoch_s = (start_s + steps * one.step_s for one in (alone, whole))
    return Measured(loading_s, epoch_s, holds_epoch=ahead >= steps)


def _steps(seconds: float, step_s: float) -> int:
    return max(FEWEST_STEPS, min(MOST_STEPS, round(seconds / step_s) if step_s else MOST_STEPS))
