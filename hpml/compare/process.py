"""The process of a side: started anew for each round, asked for short fits, and ended."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hpml.compare import program
from hpml.compare.rounds import Turn
from hpml.compare.side import Side
from hpml.errors import UserError
from hpml.system.interference import Interference

# What starts it: our modules are found where ours are, whatever the program's own folder holds.
BOOT = "import sys; sys.path[0] = {root!r}; from {module} import main; main()"
TO_END_S = 10.0


# Signals that come from elsewhere; any other is the program's own: a crash of its compiled code.
FROM_ELSEWHERE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")


class KilledError(Exception):
    """The process of a side has died by a signal from elsewhere: memory may have been short."""

    def __init__(self, side: Side, signal_name: str) -> None:
        super().__init__(f"{side.name}: was killed ({signal_name})")
        self.side = side


class SideProcess:
    """Runs a side's program up to its first fit.

    What the program prints goes to a file. Raises UserError for a program that fails or never fits,
    KilledError where something kills it.
    """

    def __init__(self, side: Side, log: Path) -> None:
        self._side, self._log = side, log
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
            )
        for descriptor in (to_child, to_parent):
            os.close(descriptor)
        self._requests: IO[str] = os.fdopen(requests, "w")
        self._answers: IO[str] = os.fdopen(answers)
        self._first: dict[str, Any] | None = None

    def first(self) -> dict[str, Any]:
        if self._first is None:
            self._first = self._answer()
            if strays := self._first.pop("strays"):
                raise UserError(
                    f"{self._side.name}: {strays[0]} is imported from the project, not from this "
                    'revision; give --install="pip install -e ." for an environment of its own'
                )
        return dict(self._first)

    def fit(self, steps: int, seed: int) -> Turn:
        answer = self._ask({"steps": steps, "seed": seed})
        seen = answer["interference"]
        return Turn(answer["figures"], None if seen is None else Interference.from_dict(seen))

    def last(self) -> dict[str, Any]:
        return self._ask({})

    def close(self) -> None:
        """Ends it, with all that it has begun: its program's own end comes first."""
        with suppress(OSError):
            self._requests.close()
        try:
            self._process.wait(TO_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._answers.close()

    def kill(self) -> None:
        self._process.kill()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # what has ended it is told below
            print(json.dumps(request), file=self._requests, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line.endswith("\n"):
            self._explain_end()
        answer: dict[str, Any] = json.loads(line)
        if error := answer.get("error"):
            raise UserError(f"{self._side.name}: {error}")
        return answer

    def _explain_end(self) -> None:
        """Raises what its exit code and its last line say."""
        code = self._process.wait()
        if code < 0:
            name = (
                signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
            )
            if name in FROM_ELSEWHERE:
                raise KilledError(self._side, name)
            raise UserError(f"{self._side.name}: crashes ({name}): {self._said}")
        if code:
            raise UserError(f"{self._side.name}: fails with exit code {code}: {self._said}")
        raise UserError(
            f"{self._side.name}: {shlex.join(self._side.words)} has ended without a Trainer.fit"
        )

    @property
    def _said(self) -> str:
        """The last line of what it has printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")


@contextmanager
def started(side: Side, log: Path) -> Iterator[SideProcess]:
    process = SideProcess(side, log)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        process.close()
