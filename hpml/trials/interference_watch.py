"""What others take from a measurement meanwhile, as a witness sees it."""

from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

from hpml.system.between_readings import between
from hpml.system.interference import Interference
from hpml.system.kernel_readings import Witness

M = TypeVar("M")
# Calls a measurement, and tells what was taken from it meanwhile; None where nobody knows.
Watch = Callable[[Callable[[], M]], tuple[M, Interference | None]]


def unwatched(measure: Callable[[], M]) -> tuple[M, None]:
    return measure(), None


def watched(
    witness: Witness,
    waiting_share: Callable[[M], float],
    every: Callable[[Interference], list[Interference]] = lambda own: [own],
) -> Watch[M]:
    """Reads a witness before and after; the share is of the time that waited for workers.

    Of what was seen on `every` rank it is what was taken from the one that lost most.
    """

    def watch(measure: Callable[[], M]) -> tuple[M, Interference]:
        before = witness.read()
        measurement = measure()
        after = witness.read()
        waiting_s = waiting_share(measurement) * (after.at_s - before.at_s)
        seen = every(between(before, after, waiting_s))
        return measurement, max(seen, key=attrgetter("share"))

    return watch
