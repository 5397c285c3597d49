"""How far the first losses of two jobs are apart, and what of that is rounding; without torch."""

import math
from collections.abc import Sequence

# Parts of a loss that another order of summing makes of it in a few steps.
ROUNDING = 1e-4


def are_finite(losses: Sequence[float]) -> bool:
    return all(map(math.isfinite, losses))


def apart(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest part by which one differs.

    Infinite where they are not as many, and where one is not finite: what two jobs compute then,
    nobody knows, though both be NaN.
    """
    if len(first) != len(second) or not are_finite([*first, *second]):
        return math.inf
    return max(map(_part, first, second), default=0.0)


def rounding(own: float, least: float = ROUNDING) -> float:
    """What may be rounding where a job is apart from itself by `own`, seen once."""
    return max(least, 2 * own)


def _part(a: float, b: float) -> float:
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))
