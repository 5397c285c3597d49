"""A clock that splits time among exclusive phases, so that they add up to the whole.

Phases are nested: time goes to the innermost one that is open (its self-time), and to nothing else.
Times are whole nanoseconds, so that sums are exact.
"""

import time
from collections import defaultdict
from collections.abc import Callable


class PhaseClock:
    """Self-time of nested phases.

    It starts when it is made, in the phase `outermost`, which is never left. At any moment the
    times of all phases sum to the time since the last `take`. `time_ns` never goes back.
    """

    def __init__(self, outermost: str, time_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._time_ns = time_ns
        self._stack = [outermost]
        self._times: defaultdict[str, int] = defaultdict(int)
        self._since = time_ns()

    @property
    def depth(self) -> int:
        """How many phases are open, the outermost one included."""
        return len(self._stack)

    @property
    def phase(self) -> str:
        return self._stack[-1]

    def enter(self, phase: str | None) -> int:
        """Opens a phase, None for the one around it again; returns the depth to leave to."""
        around = self._stack[-1]
        if phase is not None and phase != around:
            self.claim(around)
        self._stack.append(phase or around)
        return len(self._stack) - 1

    def leave(self, depth: int | None = None) -> None:
        """Closes the innermost phase; with `depth`, all that were opened since it was that.

        Raises ValueError where nothing but the outermost phase is open.
        """
        stack = self._stack
        if depth is None:
            depth = len(stack) - 1
        if depth < 1:
            raise ValueError(f"cannot go from depth {len(stack)} to {depth}")
        phase = stack[-1]
        del stack[depth:]
        if stack[-1] != phase:
            self.claim(phase)

    def relabel(self, phase: str) -> None:
        """From now on the innermost open phase is another one."""
        self.claim(self._stack[-1])
        self._stack[-1] = phase

    def claim(self, phase: str) -> None:
        """Gives the time since the last change to a phase that was seen to begin only now."""
        now = self._time_ns()
        self._times[phase] += now - self._since
        self._since = now

    def times(self) -> dict[str, int]:
        """Nanoseconds by phase since the last `take`, up to this moment."""
        self.claim(self._stack[-1])
        return dict(self._times)

    def take(self, outermost: str | None = None) -> dict[str, int]:
        """As `times`, and begins again from nothing; what is open stays open, in `outermost`."""
        taken = self.times()
        self._times.clear()
        self._stack[0] = outermost or self._stack[0]
        return taken
