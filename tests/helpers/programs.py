"""Runs hpml's programs as a user would, each in a process of its own.

To import torch and Lightning takes seconds of each. So one process a test session imports them,
and nothing of hpml, and forks for each program: own working directory, environment, streams, exit
code, signals. Where a test is about what is imported, it starts Python itself.
"""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IMPORTS = "lightning, torchvision.transforms, torch.utils.tensorboard, hydra, scipy.special"
POLL_S = 0.01
_server: subprocess.Popen[str] | None = None


class Program:
    """A program that runs.

    Attributes:
        pid: of its process, which leads a group of its own.
        args: as they would be typed.
    """

    def __init__(self, words: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.args = [sys.executable, *words]
        self._files = tempfile.TemporaryDirectory()
        self._streams = [Path(self._files.name) / name for name in ("stdout", "stderr")]
        self.returncode: int | None = None
        self.pid: int = _ask(
            words=list(words),
            folder=str(folder),
            environment=os.environ | environment,
            streams=list(map(str, self._streams)),
        )

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _ask(poll=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To the program's own process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """The process and all that it has started in its group."""
        os.killpg(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 280) -> tuple[str, str]:
        """Waits for its end; what it has printed on stdout and stderr."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(POLL_S)
        stdout, stderr = (path.read_text(errors="replace") for path in self._streams)
        return stdout, stderr


def run_program(
    words: Sequence[str], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python WORDS`, such as `-m hpml.train seed=1`, in a folder, to its end."""
    program = Program(words, folder, environment)
    stdout, stderr = program.communicate()
    assert program.returncode is not None
    return subprocess.CompletedProcess(program.args, program.returncode, stdout, stderr)


def _ask(**request: Any) -> Any:
    global _server
    if _server is None:
        tests = str(Path(__file__).parents[1])
        command = f"import sys; sys.path.insert(0, {tests!r}); import {IMPORTS}; "
        command += "from helpers.programs import serve; serve()"
        _server = subprocess.Popen(
            [sys.executable, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(_server.terminate)
    assert _server.stdin is not None
    assert _server.stdout is not None
    _server.stdin.write(json.dumps(request) + "\n")
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())


def serve() -> None:
    """Forks a program for each line that asks for one, and tells when it has ended."""
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _become(**request)
        print(json.dumps(answer), flush=True)


def _become(words: list[str], folder: str, environment: dict[str, str], streams: list[str]) -> None:
    """This process is the program from now on, and ends as Python would."""
    exit_code = 1
    try:
        os.setsid()
        for number, path in enumerate(["/dev/null", *streams]):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
            os.dup2(os.open(path, flags), number)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - as Python has it
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        more = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        if words[0] == "-m":
            sys.path[:2] = [folder, *more]
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[:2] = [str(Path(words[0]).parent), *more]
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
        exit_code = 0
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
        finally:
            os._exit(exit_code)
