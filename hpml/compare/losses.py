"""Whether both sides compute the same in their first steps."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from hpml.compare.rounds import SIDES, Round
from hpml.trials.losses import ROUNDING, apart, are_finite, rounding


def in_words(rounds: Sequence[Round]) -> str:
    """A sentence; what is never the same within one side is no difference of the other."""
    sides = [[each.processes[side] for each in rounds] for side in SIDES]
    first, last = ([each["losses"] for each in side if "losses" in each] for side in sides)
    if not first or not last:
        return ""
    if not first[0]:
        return _of_weights(*sides)
    sides_of = zip(SIDES, (first, last), strict=True)
    if names := [name for name, side in sides_of if not all(map(are_finite, side))]:
        return f"the first losses are not finite {' and '.join(names)}: they cannot be compared"
    own = max(
        (apart(a, b) for side in (first, last) for a, b in itertools.combinations(side, 2)),
        default=0.0,
    )
    difference = max(apart(a, b) for a, b in zip(first, last, strict=True))
    if difference == 0:
        return "the first losses are the same to the bit"
    if difference <= rounding(own):
        of_own = ", as they do on one side alone" if own > ROUNDING else ""
        return f"the first losses are the same within rounding ({difference:.0e}){of_own}"
    why = " of other batches" if _batches(sides[0]) != _batches(sides[1]) else ""
    size = f"by {difference:.1%}" if math.isfinite(difference) else "in number"
    return f"the first losses{why} differ {size}: the two compute something else"


def _of_weights(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> str:
    """Of a step that returns no loss."""
    first, last = ({each.get("weights") for each in side} for side in (before, after))
    if first == last:
        return "the weights after the first steps are the same to the bit"
    return "training_step returns no loss, and the weights after the first steps differ"


def _batches(side: Sequence[dict[str, Any]]) -> Any:
    return side[0].get("batches")
