"""The clock of a sample's stages: time goes to the innermost stage that is open."""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from hpml.timing.phase_clock import PhaseClock

# Stages that every loader may have; a transform and a data set are called by their own names.
SAMPLER, READING, DECODING = "sampler", "reading", "decoding"
COLLATING, COPYING, PINNING = "collating", "copying between processes", "pinning"
LOOP = "the loader's own loop"


class StageClock(PhaseClock):
    """Counts for the thread that made it; what others call is not timed."""

    def __init__(self, time_ns: Callable[[], int]) -> None:
        super().__init__(LOOP, time_ns)
        self._thread = threading.get_ident()

    def call(self, stage: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if threading.get_ident() != self._thread:
            return function(*given, **named)
        depth = self.enter(stage)
        try:
            return function(*given, **named)
        finally:
            self.leave(depth)

    def around(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function, whose time is the stage's but for that of stages within it."""

        @functools.wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            return self.call(stage, function, *given, **named)

        return timed

    def around_each(self, begin: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The same of an `__iter__`: each of its items is the stage's."""

        @functools.wraps(begin)
        def timed(owner: Any) -> Iterator[Any]:
            items, end = self.call(stage, begin, owner), object()
            items = iter(items)
            while (item := self.call(stage, next, items, end)) is not end:
                yield item

        return timed
