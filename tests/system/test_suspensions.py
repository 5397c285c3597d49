"""Stops of the whole process, on clocks that are handed in."""

import pytest

from hpml.system.suspensions import EVERY_S, Suspensions


class Clocks:
    def __init__(self) -> None:
        self.wall, self.waited, self.runs = 0.0, 0.0, 0
        self.stops = Suspensions(lambda: self.wall, lambda: (self.waited, self.runs))

    def pass_(self, wall: float, waited: float = 0.0, runs: int = 1) -> float | None:
        self.wall, self.waited, self.runs = self.wall + wall, self.waited + waited, self.runs + runs
        self.stops.beat()
        return self.stops.stopped_s


@pytest.mark.parametrize(
    ("wall", "waited", "runs", "stopped"),
    [
        (EVERY_S, 0, 1, 0),  # in time
        (3 + EVERY_S, 0, 1, 3),  # stopped
        (3 + EVERY_S, 0, 600, 0),  # somebody held the interpreter, be it asleep
        (3 + EVERY_S, 3, 1, 0),  # it could have run and had no core
        (0.2 + EVERY_S, 0, 1, 0),  # a little late
    ],
)
def test_what_is_a_stop(wall: float, waited: float, runs: int, stopped: float) -> None:
    """A thread that woke late and was not run in between, nor waited to be."""
    assert Clocks().pass_(wall, waited, runs) == pytest.approx(stopped)


def test_where_the_kernel_does_not_count_nothing_is_known() -> None:
    """As on macOS: None, not zero."""
    stops = Suspensions(lambda: 0.0, lambda: None)
    stops.beat()
    assert stops.stopped_s is None


def test_stops_add_up() -> None:
    """Each counts once."""
    clocks = Clocks()
    clocks.pass_(2 + EVERY_S)
    clocks.pass_(EVERY_S)
    assert clocks.pass_(1 + EVERY_S) == pytest.approx(3)
