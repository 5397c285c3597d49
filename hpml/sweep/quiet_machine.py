"""Waits before a job of a sweep until other programs leave it the machine, or for long enough."""

import logging
import time
from collections.abc import Callable
from typing import Any

from hpml.formatting import duration_in_words
from hpml.system.other_programs import BUSY_SHARE, LOOK_S, OtherPrograms, in_words

log = logging.getLogger("hpml")


class QuietMachine:
    """Says when the next job may start. Asked again and again, it never blocks.

    A look at the machine takes LOOK_S; it is busy where others use BUSY_SHARE of its cores. After
    `max_wait_s` the job starts all the same.
    """

    def __init__(
        self,
        max_wait_s: float,
        others: Callable[[], tuple[float, int] | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_wait_s = max_wait_s
        self._others, self._clock = others or OtherPrograms(), clock
        self._looked_s: float | None = None
        self._busy_since_s: float | None = None

    def may_start(self) -> dict[str, Any] | None:
        """How long the job that may now start has waited, and whether for quiet; None: not yet."""
        now_s = self._clock()
        if self._looked_s is None:
            self._others()
            self._looked_s = now_s
        if now_s - self._looked_s < LOOK_S:
            return None
        self._looked_s = now_s
        used = self._others()
        is_quiet = used is None or used[0] < BUSY_SHARE * used[1]
        since_s = now_s if self._busy_since_s is None else self._busy_since_s
        waited_s = now_s - since_s
        if used is not None and not is_quiet:
            others = in_words(*used)
            if self._busy_since_s is None:
                most = duration_in_words(self._max_wait_s)
                log.info(f"\n{others}: waiting until they do not, {most} at most")
                self._busy_since_s = now_s
            if waited_s < self._max_wait_s:
                return None
            log.warning(f"{others} still, after sweep.max_wait_s={self._max_wait_s:g}: going on")
        elif self._busy_since_s is not None:
            log.info(f"waited {waited_s:.0f} s for a quiet machine")
        self._looked_s = self._busy_since_s = None
        return {"waited_s": round(waited_s, 3), "was_quiet": None if used is None else is_quiet}
