"""How many cores other programs use at the moment."""

import logging
import time

import psutil

from hpml.system.between_readings import Reading, between
from hpml.system.kernel_readings import Witness

log = logging.getLogger("hpml")

LOOK_S, BUSY_SHARE = 0.5, 0.25


class OtherPrograms:
    """How many cores other programs have used since the last call, and of how many.

    All that this process has started is its own. None at the first call, and where the system does
    not tell.
    """

    def __init__(self, witness: Witness | None = None) -> None:
        self._witness = witness or Witness()
        self._last: Reading | None = None

    def __call__(self) -> tuple[float, int] | None:
        last, self._last = self._last, self._witness.read()
        percent = psutil.cpu_percent()  # since its last call
        if last is None:
            return None
        seen = between(last, self._last)
        if seen.others_cpu_s is not None and seen.cores and seen.wall_s:
            return seen.others_cpu_s / seen.wall_s, seen.cores
        if psutil.Process().children():  # whose part of it is not known
            return None
        cores = psutil.cpu_count() or 1
        return percent / 100 * cores, cores


def warn_of_others(witness: Witness | None = None) -> None:
    """Warns where other programs use a quarter of the cores or more, as one look shows.

    `witness` knows what else is the job's own, such as other ranks.
    """
    others = OtherPrograms(witness)
    others()
    time.sleep(LOOK_S)
    used = others()
    if used is not None and used[0] >= BUSY_SHARE * used[1]:
        log.warning(f"{in_words(*used)}: times will vary")


def in_words(used: float, cores: int) -> str:
    return f"other programs use {used:.1f} of {cores} cores"
