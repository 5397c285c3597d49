"""What acts seldom by a change: its acts in an epoch, of which a few steps may have none.

A trial of such a change has two fits. In one it never acts; the other shows what its acts take, by
so many steps that each has its part of them, whatever it counts by. An epoch has as many as a
callback that counts an epoch's batches does then, and none that counts otherwise has more.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from hpml.trials.intervention import Intervention
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.trials.trainer import NEVER, accumulated
from hpml.tuning.change import Change, Changes

# Seconds of steps that are timed until all has acted again. Where these would take longer, what the
# acts take is calculated from the job as it is.
LONGEST_S = 4.0
ENOUGH = 10  # acts of an epoch that does not have a whole number of them


def seldom_of(changes: Changes) -> list[Change]:
    """Those that have something act less often."""
    return [change for change in changes if change.acts[1] > 1]


def never(intervention: Intervention, changes: Changes) -> Intervention:
    """The trial in which what they have act less often does not act."""
    logs = any(not change.settings.rests for change in seldom_of(changes))
    settings = Settings(log_every=NEVER if logs else None, rest_batches=NEVER)
    return replace(intervention, settings=intervention.settings | settings)


def as_it_is(intervention: Intervention, changes: Changes) -> Intervention:
    """The trial in which that acts as often as without them."""
    settings = replace(intervention.settings, rests=frozenset())
    for change in seldom_of(changes):
        if not change.settings.rests:
            settings = replace(settings, log_every=change.acts[0])
    return replace(intervention, settings=settings)


def period_of(changes: Changes, window: int) -> int:
    """Batches after which all that acts seldom has acted as often by any count.

    An optimizer steps once for `window` of them.
    """
    every = [change.acts[1] for change in seldom_of(changes)]
    return window * math.lcm(*every) if every else 1


def weight(changes: Changes, steps: int, is_timed: bool) -> float:
    """By how many steps' part of the acts an epoch of so many steps grows.

    The part is that of a step as it is with the changes, if that `is_timed`; else without them. Of
    several changes it is that of the one which gains least.
    """
    weights = []
    for change in seldom_of(changes):
        now, then = change.acts
        acts = math.ceil(steps / then) if change.settings.rests else steps / then
        weights.append((then if is_timed else now) * acts)
    return max(weights)


def timeable(
    changes: Iterable[Change], subject: Subject, step_s: float, skipped: dict[Change, str]
) -> tuple[int, list[Change]]:
    """Steps in which all that changes may have act less often acts as often by any count now.

    And the changes, without those of what acts too seldom for that: `skipped` gets these, and why.
    """
    window, epoch_steps = accumulated(subject.trainer), subject.epoch_steps or 0
    steps, tried = 1, list[Change]()
    for change in changes:
        now = change.acts[0] * window if change.acts[0] > 1 else 1
        together = math.lcm(steps, now)
        acts = f"it acts at one of {change.acts[0]} steps already"
        if together > 1 and together * step_s > LONGEST_S:
            skipped[change] = f"{acts}, and of steps of {step_s:.2g} s too few can be timed"
        elif epoch_steps % now and epoch_steps < ENOUGH * now:
            skipped[change] = f"{acts}, and an epoch has few of these"
        else:
            steps = together
            tried.append(change)
    return steps, tried
