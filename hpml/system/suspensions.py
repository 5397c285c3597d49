"""Notices that the process stood still: stopped by a signal, frozen, or paused with its machine."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

EVERY_S = 0.1
LEAST_S = 0.25  # of being late
MOST_RUNS = 10  # of a thread that only woke; one that waits for the interpreter has 200 a second


class Suspensions:
    """A thread that sleeps, and looks whether it woke late without having been run in between.

    No counter of the kernel tells of such a time: a stopped thread neither runs nor waits to. One
    that waits for the interpreter is run every few milliseconds to ask for it again. The clock, and
    what the kernel counts of this thread, can be replaced: seconds that it waited for a core, and
    how often it was run.

    Attributes:
        stopped_s: seconds so far; None where the kernel does not count.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.perf_counter,
        counts: Callable[[], tuple[float, int] | None] | None = None,
    ) -> None:
        self._wall, self._counts = wall, counts or _counts
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.stopped_s: float | None = None if self._counts() is None else 0.0
        self.begin()

    def begin(self) -> None:
        """From here on."""
        self._last = self._wall(), self._counts()

    def beat(self) -> None:
        """To be called every EVERY_S."""
        last_wall, last = self._last
        self.begin()
        wall, now = self._last
        if self.stopped_s is None or now is None or last is None:
            return
        late = wall - last_wall - EVERY_S - (now[0] - last[0])
        if late > LEAST_S and now[1] - last[1] <= MOST_RUNS:
            self.stopped_s += late

    def __enter__(self) -> "Suspensions":
        self._end.clear()
        self._thread = threading.Thread(target=self._run, name="hpml-stops", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        self.begin()
        while not self._end.wait(EVERY_S):
            self.beat()


def _counts() -> tuple[float, int] | None:
    with suppress(OSError, ValueError):
        _, waited_ns, runs = Path("/proc/thread-self/schedstat").read_text().split()
        return int(waited_ns) / 1e9, int(runs)
    return None
