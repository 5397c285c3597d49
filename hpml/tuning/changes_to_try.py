"""Which changes are worth a race: those that attack a cost large enough."""

import math
from collections.abc import Collection, Iterable

from hpml.diagnosis.trial_figures import AS_IT_IS
from hpml.diagnosis.wording import Diagnosis
from hpml.statistics import Estimate
from hpml.trials.rounds import LEAST_GAIN
from hpml.tuning.change import VALIDATION, Change


def changes_to_try(
    changes: Iterable[Change],
    diagnosis: Diagnosis,
    checks_s: float,
    also: Collection[str],
    skipped: dict[Change, str],
) -> list[Change]:
    """Those that attack a cost large enough, the largest first; `skipped` gets the others, and why.

    What was asked for by name, in `also`, comes before them. An epoch's validation takes
    `checks_s`.
    """
    epoch_s, gains = diagnosis.epoch_s(AS_IT_IS).mean, dict(diagnosis.gains)
    gains[VALIDATION] = Estimate(checks_s, 0.0, 1)
    limits: dict[Change, float] = {}
    for change in changes:
        most = [gains.get(cause) for cause in change.causes]
        limit_s = max(map(_at_most, most))
        if change.needs:
            if limit_s >= LEAST_GAIN * epoch_s:
                skipped[change] = change.needs
        elif change.is_asked_for(also):
            limits[change] = math.inf
        elif limit_s < LEAST_GAIN * epoch_s:
            share = max(0.0, limit_s / epoch_s)
            skipped[change] = f"can save {share:.1%} at most"
        else:
            limits[change] = max(each.mean for each in most if each) if any(most) else 0.0
    return sorted(limits, key=lambda change: -limits[change])


def _at_most(gain: Estimate | None) -> float:
    """Seconds; infinite where nobody knows."""
    if gain is None or gain.half_width is None:
        return math.inf
    return gain.mean + gain.half_width
