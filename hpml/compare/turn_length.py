"""How many steps the turns of both sides have, and in how many slices."""

import math
from collections.abc import Mapping
from typing import Any

# How long a turn takes about, and how many slices it has at least.
TURN_S, LEAST_SLICES = 1.0, 4
# How long a slice takes about. What a dataset waits for, say a server, goes on while its workers
# stand still, and a GPU's queue is empty at a slice's end: slices are so long there that this is
# little.
SLICE_S, LONG_SLICE_S = 0.02, 0.5
MOST_STEPS = 400  # of a turn
Facts = Mapping[str, Mapping[str, Any]]  # of each side, as its process has them


def lengths(facts: Facts, step_s: float, steps: int | None) -> tuple[int, dict[str, int]]:
    """The slices of a turn, and the steps of each side; about `steps` if given.

    A turn has more batches than are ready when it begins.
    """
    is_continuous = all(each.get("is_continuous") for each in facts.values())
    slice_s = SLICE_S if is_continuous else LONG_SLICE_S
    turn_s = max(TURN_S, LEAST_SLICES * slice_s)
    about = steps or min(MOST_STEPS, max(LEAST_SLICES, round(turn_s / step_s)))
    about = max(about, *(2 * each.get("ahead", 0) for each in facts.values()))
    of_slice = max(1, min(about // LEAST_SLICES, round(slice_s / step_s)))
    own = whole(facts, about)
    return max(1, min(round(max(own.values()) / of_slice), *own.values())), own


def whole(facts: Facts, about: int) -> dict[str, int]:
    """About so many steps for each side: whole windows of accumulation, a batch of each worker.

    Workers' batches come in bursts: with a part of one a side would look faster or slower. Both
    have as many steps, where about so many are enough for that; else the steps of one are fewer by
    less than such a unit of its own.
    """
    units = {side: each.get("unit", 1) for side, each in facts.items()}
    of_both = math.lcm(*units.values())
    unit = of_both if of_both <= about else max(units.values())
    steps = max(1, round(about / unit)) * unit
    return {side: steps // own * own for side, own in units.items()}
