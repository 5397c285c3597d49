"""Whether both sides compute the same in their first steps."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from hpml.compare.rounds import SIDES, Round

# Parts of a loss that another order of summing makes.
ROUNDING = 1e-4


def in_words(rounds: Sequence[Round]) -> str:
    """A sentence; what is never the same within one side is no difference of the other."""
    sides = [[each.processes[side] for each in rounds] for side in SIDES]
    first, last = ([each["losses"] for each in side if "losses" in each] for side in sides)
    if not first or not last:
        return ""
    if not first[0]:
        return _of_weights(*sides)
    if names := [name for name, side in zip(SIDES, (first, last), strict=True) if _strays(side)]:
        return f"the first losses are not finite {' and '.join(names)}: they cannot be compared"
    own = max(
        (_apart(a, b) for side in (first, last) for a, b in itertools.combinations(side, 2)),
        default=0.0,
    )
    apart = max(_apart(a, b) for a, b in zip(first, last, strict=True))
    if apart == 0:
        return "the first losses are the same to the bit"
    if apart <= max(ROUNDING, 2 * own):
        of_own = ", as they do on one side alone" if own > ROUNDING else ""
        return f"the first losses are the same within rounding ({apart:.0e}){of_own}"
    why = " of other batches" if _batches(sides[0]) != _batches(sides[1]) else ""
    size = f"by {apart:.1%}" if math.isfinite(apart) else "in number"
    return f"the first losses{why} differ {size}: the two compute something else"


def _of_weights(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> str:
    """Of a step that returns no loss."""
    first, last = ({each.get("weights") for each in side} for side in (before, after))
    if first == last:
        return "the weights after the first steps are the same to the bit"
    return "training_step returns no loss, and the weights after the first steps differ"


def _strays(side: Sequence[Sequence[float]]) -> bool:
    return not all(math.isfinite(loss) for losses in side for loss in losses)


def _batches(side: Sequence[dict[str, Any]]) -> Any:
    return side[0].get("batches")


def _apart(first: Sequence[float], last: Sequence[float]) -> float:
    """The largest part by which one differs."""
    if len(first) != len(last):
        return math.inf
    return max((_part(a, b) for a, b in zip(first, last, strict=True)), default=0.0)


def _part(a: float, b: float) -> float:
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))
