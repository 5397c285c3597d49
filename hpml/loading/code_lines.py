"""In which lines of the user's code the time goes, by looks at the running thread.

A thread of this process looks every millisecond at the stack of the one that loads, by the
interpreter's own `sys._current_frames`: that needs no root, no other process and no package, is on
every system, and costs the code that is looked at nothing between two looks. What else there is
would not do: a profiler of another process needs the right to trace this one; a hook for each call
or line (`sys.setprofile`, or `sys.monitoring`, which Python 3.11 has not) makes cheap calls dear; a
signal's handler runs in the main thread alone and interrupts what sleeps.

A look needs the interpreter's lock, which the other thread gives up when it calls C that does, or
when it has had it for the switch interval. That is 50 microseconds meanwhile: at the usual 5 ms a
sampling thread (pprofile's, on two cores) had 98 % of its looks on a call of zlib that took 26 % of
the time, and 32 % so. A look counts for the time since the one before.
"""

import linecache
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_stack
from types import CodeType, TracebackType
from typing import Any

from hpml.errors import LIBRARIES, PACKAGE

EVERY_S = 0.001
SWITCH_S = 50e-6
Place = tuple[str, int]  # file and line
# Nanoseconds by stage and line; no line where none is the data's own.
Looks = Counter[tuple[str, Place | None]]
_PATHS = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_NOT_THE_USERS = (*_PATHS, str(PACKAGE), "<frozen", "<string>")  # the last: of text, as dataclasses


@dataclass(frozen=True)
class CodeLine:
    """A line and its share of the time of all samples; `stage` is where most of that goes."""

    file: str
    line: int
    share: float
    stage: str
    text: str  # as it stands in the file; empty where that cannot be read

    @property
    def place(self) -> str:
        """`photos.py:41`, as one finds it from here."""
        return f"{shown(self.file)}:{self.line}"


class LineSampler:
    """Looks at this thread while the context is open.

    Args:
        root: the function that loads: frames from it on are not those of the data.
        stage: tells which stage is open.
    """

    def __init__(self, root: CodeType, stage: Callable[[], str]) -> None:
        self.ns: Looks = Counter()
        self._root, self._stage = root, stage
        self._ended = threading.Event()

    def __enter__(self) -> "LineSampler":
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        self._of = threading.get_ident()
        self._thread = threading.Thread(target=self._look, name="line sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        sys.setswitchinterval(self._switch_s)

    def _look(self) -> None:
        before_s = time.monotonic()
        while not self._ended.wait(EVERY_S):
            frame = sys._current_frames().get(self._of)
            stage, now_s = self._stage(), time.monotonic()
            stack = self._within(frame)
            if stack is not None:
                self.ns[stage, own_line(stack)] += round((now_s - before_s) * 1e9)
            before_s = now_s

    def _within(self, frame: Any) -> list[Place] | None:
        """From the innermost frame to the root; None where that is not running."""
        stack = list[Place]()
        if frame is None:  # for which Python would look at this thread
            return None
        for each, line in walk_stack(frame):
            if each.f_code is self._root:
                return stack
            stack.append((each.f_code.co_filename, line))
        return None


def ranked(ns: Looks, most: int) -> list[CodeLine]:
    """The lines that cost most, the dearest first."""
    whole, by_line, stages = ns.total(), Counter[Place](), dict[Place, str]()
    for (stage, place), spent in ns.most_common():
        if place is not None:
            by_line[place] += spent
            stages.setdefault(place, stage)
    return [
        CodeLine(*place, spent / whole, stages[place], linecache.getline(*place).strip())
        for place, spent in by_line.most_common(most)
        if spent
    ]


def line_of_each(ns: Looks) -> dict[str, str]:
    """Of each stage the line where most of it goes, as `photos.py:41`, where one is known."""
    lines: dict[str, str] = {}
    for (stage, place), _ in ns.most_common():
        if place is not None:
            lines.setdefault(stage, f"{shown(place[0])}:{place[1]}")
    return lines


def own_line(stack: Sequence[Place]) -> Place | None:
    """The innermost line that is the user's own, of a stack from the innermost one outwards."""
    return next((place for place in stack if is_users(place[0])), None)


def is_users(file: str) -> bool:
    """Whether it is neither Python's, nor an installed package's, nor ours."""
    return not file.startswith(_NOT_THE_USERS) and LIBRARIES.isdisjoint(Path(file).parts)


def shown(file: str) -> str:
    """Its path from here; whole elsewhere."""
    path = Path(file)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else file
