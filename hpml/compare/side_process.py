"""The process of a side: started anew for each round, asked for short fits, and ended."""

import json
import math
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from hpml.compare import program
from hpml.compare.rounds import Turn
from hpml.compare.side import OUTPUTS, REVISION, TRACKED, WORKING_TREE, Side
from hpml.compare.worktree import LoggedError
from hpml.system.interference import Interference

# What starts it: our modules are found where ours are, whatever the program's own folder holds.
BOOT = "import sys; sys.path[0] = {root!r}; from {module} import main; main()"
TO_END_S, POLL_S = 10.0, 1.0
# What a side may take beyond the budget: for a round that has begun before its end.
GRACE_S = 120.0
# Signals that come from elsewhere; any other is the program's own: a crash of its compiled code.
FROM_ELSEWHERE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
MISSING = ("FileNotFoundError", "NotADirectoryError", "No such file")


class FailedError(LoggedError):
    """A side's program fails; with a hint where files or modules are missing."""

    def __init__(self, side: Side, log: Path, message: str) -> None:
        hint = ""
        if any(word in message for word in MISSING):
            hint = f"; {TRACKED}" if side.kind == REVISION and side.name != WORKING_TREE else ""
        elif "ModuleNotFoundError" in message and side.python != sys.executable:
            hint = "; --install has to bring all that the program and hpml import"
        super().__init__(f"{side.name}: {message}{hint}", log)


class KilledError(Exception):
    """The process of a side has died by a signal from elsewhere: memory may have been short."""

    def __init__(self, side: Side, log: Path, signal_name: str) -> None:
        super().__init__(f"{side.name}: was killed ({signal_name})")
        self.side, self.log = side, log


class SideProcess:
    """Runs a side's program up to its first fit.

    What the program prints goes to a file. Raises UserError for a program that fails, never fits,
    or says nothing until `until_s` of `time.perf_counter`; KilledError where something kills it.
    """

    def __init__(self, side: Side, log: Path, until_s: float = math.inf) -> None:
        self._side, self._log, self._until_s = side, log, until_s
        to_child, requests = os.pipe()
        answers, to_parent = os.pipe()
        boot = BOOT.format(root=program.ROOT, module=program.main.__module__)
        own = [str(to_child), str(to_parent), repr(time.time())]
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [side.python, "-c", boot, *own, *side.words],
                cwd=side.folder,
                env=side.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(to_child, to_parent),
                start_new_session=True,
            )
        for descriptor in (to_child, to_parent):
            os.close(descriptor)
        self._requests: IO[str] = os.fdopen(requests, "w")
        self._answers, self._read = answers, b""
        self._first: dict[str, Any] | None = None

    def is_ready(self, wait_s: float) -> bool:
        if self._first is None and self._has_line(wait_s):
            self.first()
        return self._first is not None

    def first(self) -> dict[str, Any]:
        if self._first is None:
            self._first = self._answer()
            if strays := self._first.pop("strays"):
                raise self._failed(
                    f"{strays[0]} is imported from the project, not from this "
                    'revision; give --install="pip install -e . FOLDER", FOLDER being hpml\'s, for '
                    "an environment of its own"
                )
        return dict(self._first)

    def fit(self, slices: int, steps: int, seed: int, core: int) -> Generator[None, None, Turn]:
        self._ask({"slices": slices, "steps": steps, "seed": seed, "core": core})
        for _ in range(slices):
            yield
            self._ask({})
        yield
        answer = self._ask({})
        seen = answer["interference"]
        return Turn(answer["figures"], None if seen is None else Interference.from_dict(seen))

    def last(self) -> dict[str, Any]:
        return self._ask({})

    def close(self) -> None:
        """Ends it, with all that it has begun: its program's own end comes first."""
        with suppress(OSError):
            self._requests.close()
        self._stand_still(False)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(TO_END_S)
        finally:
            self.kill()
            self._process.wait()
            os.close(self._answers)

    def kill(self) -> None:
        """Ends its whole group: what the program has started too."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer; it stands still from then on."""
        self._stand_still(False)
        with suppress(BrokenPipeError):  # what has ended it is told below
            print(json.dumps(request), file=self._requests, flush=True)
        answer = self._answer()
        self._stand_still(True)
        return answer

    def _stand_still(self, stands: bool) -> None:
        """Has all its threads stand still, or go on.

        Those of a pool that have nothing to do spin for milliseconds, on the other side's core.
        """
        if sys.platform == "linux":  # where it goes on by itself if this process dies
            self._process.send_signal(signal.SIGSTOP if stands else signal.SIGCONT)

    def _answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._line())
        if error := answer.get("error"):
            raise self._failed(f"{error}")
        return answer

    def _line(self) -> bytes:
        """The next line that it answers; what has ended it, or keeps it, is raised."""
        while not self._has_line(POLL_S):
            pass
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _has_line(self, wait_s: float) -> bool:
        """Whether it has answered, if need be after so many seconds; raises as `_line` does."""
        if b"\n" not in self._read:
            left_s = self._until_s - time.perf_counter()
            if left_s <= 0:
                self._refuse_silence()
            readable, _, _ = select.select([self._answers], [], [], min(left_s, wait_s))
            chunk = os.read(self._answers, 65536) if readable else b""
            # another process may hold the pipe open after this one's end
            if not chunk and (readable or self._process.poll() is not None):
                self._explain_end()
            self._read += chunk
        return b"\n" in self._read

    def _refuse_silence(self) -> None:
        raise self._failed(
            f"has not answered within --budget and {GRACE_S:g} s more: "
            f"{self._said}; give more, or see whether it hangs"
        )

    def _explain_end(self) -> None:
        """Raises what its exit code and its last line say."""
        try:
            code = self._process.wait(TO_END_S)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"does not end after what it ran: {self._said}") from error
        if code < 0:
            name = (
                signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
            )
            if name in FROM_ELSEWHERE:
                raise KilledError(self._side, self._log, name)
            raise self._failed(f"crashes ({name}): {self._said}")
        if code:
            raise self._failed(f"fails with exit code {code}: {self._said}")
        raise self._failed(f"{shlex.join(self._side.words)} has ended without a Trainer.fit")

    def _failed(self, message: str) -> FailedError:
        return FailedError(self._side, self._log, message)

    @property
    def _said(self) -> str:
        """The last line of what it has printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")


def end_all_of(folder: Path) -> None:
    """Kills what has left its side's group, by the folder that its environment names."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(OUTPUTS) == str(folder) and process.pid != os.getpid():
                process.kill()


@contextmanager
def started(side: Side, log: Path, until_s: float = math.inf) -> Iterator[SideProcess]:
    process = SideProcess(side, log, until_s)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        process.close()
