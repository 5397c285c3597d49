"""Readings of intervals in pieces."""

from dataclasses import replace
from itertools import pairwise

import pytest

from hpml.system.between_readings import Reading, between
from hpml.system.interference_in_pieces import joined


def reading(at_s: float, ours_s: float, busy_s: float, waited_s: float) -> Reading:
    return Reading(
        *(at_s, {"main": waited_s}, {}, ours_s, {0: (busy_s, 0.0)}, None),
        *({"job": 0.0}, 0.0, 0.0, 0.0, 0, 0.0, 1.0, None),
    )


def test_what_lies_between_the_pieces_is_left_out() -> None:
    """Three tenths of a second of one's own, with a second of another's in each gap."""
    pieces = [
        (reading(0.0, 0.0, 0.0, 0.0), reading(0.1, 0.09, 0.08, 0.02)),
        (reading(1.1, 0.09, 1.08, 0.02), reading(1.2, 0.18, 1.19, 0.03)),
        (reading(2.2, 0.18, 2.19, 0.03), reading(2.3, 0.27, 2.26, 0.03)),
    ]
    seen = between(*joined(pieces))
    assert seen.wall_s == pytest.approx(0.3)
    assert seen.cpu_s == pytest.approx(0.27)
    assert seen.others_cpu_s == 0.0  # 0.26 s of work, all of it the job's: ticks are coarse
    assert seen.main_waited_s == pytest.approx(0.03)
    assert seen.own_s == pytest.approx(0.03)


def test_what_may_be_the_ticks_is_nobodys() -> None:
    """25 pieces of a tick each: 0.1 s of what is busy beyond one's own is not told of others."""

    def others(each_s: float) -> float | None:
        at = [(0.1 * piece, 0.01 * piece, (0.01 + each_s) * piece) for piece in range(26)]
        readings = [reading(*of, 0.0) for of in at]
        return between(*joined(list(pairwise(readings)))).others_cpu_s

    assert others(0.003) == 0.0
    assert others(0.02) == pytest.approx(0.5 - 0.1)


def test_what_nobody_tells_stays_unknown() -> None:
    """Of a gap too; one piece alone is as it is."""
    first, last = reading(0.0, 0.0, 0.0, 0.0), reading(0.1, 0.1, 0.1, 0.0)
    assert joined([(first, last)]) == (first, last)
    dark = replace(last, waited=None, cpu_s=None)
    seen = between(*joined([(first, dark), (dark, replace(dark, at_s=0.2))]))
    assert (seen.main_waited_s, seen.cpu_s) == (None, None)
