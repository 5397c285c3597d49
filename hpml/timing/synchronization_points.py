"""Where several ranks wait for each other without an action of Lightning's that tells of it."""

from collections.abc import Callable
from typing import Any

from hpml.timing.fit_clock import FitClock
from hpml.timing.profiler_actions import BROADCAST, BUFFERS

BROADCASTS = "_broadcast_sigterm_tensor"  # of Lightning's loop: whether to stop, before each batch
SENDS_BUFFERS = "_sync_buffers"  # of DDP, before each forward pass of a module that has some


class SynchronizationPoints:
    """Times methods of a Trainer's loop and of DDP, from `begin` to `end`.

    `is_aside` tells whether what the Trainer does is of another run, whose time is a hook's.
    """

    def __init__(self, clock: FitClock, is_aside: Callable[[], bool]) -> None:
        self._clock, self._is_aside = clock, is_aside
        self._timed: list[tuple[Any, str]] = []

    def begin(self, trainer: Any) -> None:
        if trainer.world_size > 1:
            self._time(trainer.fit_loop.epoch_loop, BROADCASTS, BROADCAST)
            self._time(trainer.strategy.model, SENDS_BUFFERS, BUFFERS)

    def end(self) -> None:
        while self._timed:
            delattr(*self._timed.pop())

    def _time(self, owner: Any, name: str, phase: str) -> None:
        method = getattr(owner, name, None)
        if method is None or name in vars(owner):
            return

        def timed() -> None:
            depth = self._clock.enter(None if self._is_aside() else phase)
            try:
                method()
            finally:
                self._clock.leave(depth)

        setattr(owner, name, timed)
        self._timed.append((owner, name))
