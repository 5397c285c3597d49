"""Stops of the whole process, on clocks that are handed in."""

import pytest

from hpml.system.stops import EVERY_S, Stops


class Clocks:
    def __init__(self) -> None:
        self.wall = self.cpu = self.waited = 0.0
        self.stops = Stops(lambda: self.wall, lambda: self.cpu, lambda: self.waited)

    def pass_(self, wall: float, cpu: float = 0.0, waited: float = 0.0) -> float:
        self.wall, self.cpu, self.waited = self.wall + wall, self.cpu + cpu, self.waited + waited
        self.stops.beat()
        return self.stops.stopped_s


@pytest.mark.parametrize(
    ("wall", "cpu", "waited", "stopped"),
    [
        (EVERY_S, 0, 0, 0),  # in time
        (3 + EVERY_S, 0, 0, 3),  # stopped
        (3 + EVERY_S, 2.9, 0, 0),  # somebody held the interpreter, and worked
        (3 + EVERY_S, 0, 3, 0),  # it could have run and had no core
        (0.2 + EVERY_S, 0, 0, 0),  # a little late
    ],
)
def test_what_is_a_stop(wall: float, cpu: float, waited: float, stopped: float) -> None:
    """A thread that woke late while nothing of its process ran, or waited to."""
    assert Clocks().pass_(wall, cpu, waited) == pytest.approx(stopped)


def test_stops_add_up() -> None:
    """Each counts once."""
    clocks = Clocks()
    clocks.pass_(2 + EVERY_S)
    clocks.pass_(EVERY_S)
    assert clocks.pass_(1 + EVERY_S) == pytest.approx(3)
