"""Notices that the process stood still: stopped by a signal, frozen, or paused with its machine."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

EVERY_S = 0.1
LEAST_S = 0.25  # of being late that is no mere waiting for the interpreter


class Stops:
    """A thread that sleeps, and looks whether it woke late while nothing of the process ran.

    No counter of the kernel tells of such a time: a stopped thread neither runs nor waits to.
    The clocks can be replaced: wall, CPU of the process, and waiting of this thread for a core.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
        waited: Callable[[], float] | None = None,
    ) -> None:
        self.stopped_s = 0.0
        self._wall, self._cpu, self._waited = wall, cpu, waited or _waited_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.begin()

    def begin(self) -> None:
        """From here on."""
        self._last = self._wall(), self._cpu(), self._waited()

    def beat(self) -> None:
        """To be called every EVERY_S."""
        last_wall, last_cpu, last_waited = self._last
        self.begin()
        wall, cpu, waited = self._last
        late = wall - last_wall - EVERY_S - (waited - last_waited)
        if late > LEAST_S and cpu - last_cpu < 0.1 * late:
            self.stopped_s += late

    def __enter__(self) -> "Stops":
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


def _waited_s() -> float:
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0.0
