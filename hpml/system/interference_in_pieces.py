"""Intervals in pieces, between which others had the machine, as one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hpml.system.between_readings import Reading
from hpml.system.kernel_readings import TICKS


def joined(parts: Sequence[tuple[Reading, Reading]]) -> tuple[Reading, Reading]:
    """Two readings between which lies what lies between those of each pair, and nothing else.

    Counters tick, mostly in hundredths of a second: in short parts a sum of differences that may
    not be below zero is too large. By twice what their borders make of it the cores count as less
    busy, so that nobody is said to have had what may be no time at all. GPUs are as in the last
    reading.
    """
    last = parts[-1][1]
    for (_, ended), (begun, _) in pairwise(parts):
        counted = {
            name: _without(value, getattr(ended, name), getattr(begun, name))
            for name, value in vars(last).items()
            if name not in ("usable", "load", "gpus")
        }
        last = replace(last, **counted)
    usable = last.cores.keys() if last.usable is None else last.cores.keys() & last.usable
    if usable and len(parts) > 1:
        unknown_s = 2 * math.sqrt(len(parts)) / TICKS / len(usable)
        cores = {core: (busy - unknown_s, stolen) for core, (busy, stolen) in last.cores.items()}
        last = replace(last, cores=cores)
    return parts[0][0], last


def _without(value: Any, ended: Any, begun: Any) -> Any:
    """A count without what it has grown by in a gap; what the gap does not know stays."""
    if value is None or ended is None or begun is None:
        return value
    if isinstance(value, dict):
        return {key: _without(of, ended.get(key), begun.get(key)) for key, of in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_without, value, ended, begun))
    return value - (begun - ended)
