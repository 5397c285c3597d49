"""Runs hpml's programs as a user would, each in a process of its own.

Importing torch and Lightning takes seconds. So one process a test session imports them, and what of
hpml a training needs, reads the configuration, and forks for each program: own working directory,
environment, streams, exit code, signals. A program with another hpml on its path imports that one.
A test about what is imported starts Python itself.
"""

import atexit
import gc
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

IMPORTS = "lightning, torchvision.transforms, torch.utils.tensorboard, hydra, scipy.special"
IMPORTS += ", matplotlib.axes, matplotlib.figure, jinja2, rich.table"
OURS = "hpml.training.run, hpml.sweep.launcher, hydra_plugins.hpml_sweeper"
POLL_S = 0.01
PATIENCE_S = 120
_server: subprocess.Popen[str] | None = None


class Program:
    """A program that runs, as `python WORDS` in a folder; much like a Popen.

    Its process, `pid`, leads a group of its own. `environment` comes on top of ours; `limits` are
    the system's, as `{"RLIMIT_FSIZE": 100_000}`; what it prints goes to a pseudo-terminal, or is
    kept.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        terminal: str | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.args = [sys.executable, *words]
        self._files = tempfile.TemporaryDirectory()
        self._streams = [Path(self._files.name) / name for name in ("stdout", "stderr")]
        self.returncode: int | None = None
        self.pid: int = _ask(
            words=list(words),
            folder=str(folder),
            environment={**os.environ, **(environment or {})},
            streams=[terminal] * 2 if terminal else list(map(str, self._streams)),
            limits=dict(limits or {}),
        )

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _ask(poll=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """The process and all that it has started in its group."""
        os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 280) -> int:
        until = time.monotonic() + timeout
        while (exit_code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(POLL_S)
        return exit_code

    def communicate(self, timeout: float = 280) -> tuple[str, str]:
        """Its stdout and stderr, once it has ended; it is killed if that takes longer."""
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        stdout, stderr = (path.read_text(errors="replace") for path in self._streams)
        return stdout, stderr

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Returns once the condition holds, which has to come while the program runs."""
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.poll() is None, self.communicate()
            assert time.monotonic() < until, "waited in vain"
            time.sleep(POLL_S)


def run_program(
    words: Sequence[str],
    folder: Path,
    exit_code: int | None = 0,
    *,
    limits: Mapping[str, int] | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Runs `python WORDS` to its end, which has to be with this exit code, or with any."""
    program = Program(words, folder, variables, limits=limits)
    stdout, stderr = program.communicate()
    assert exit_code in (None, program.returncode), stdout + stderr
    return subprocess.CompletedProcess(program.args, program.wait(), stdout, stderr)


def run_on_terminal(words: Sequence[str], folder: Path, columns: int, **variables: str) -> str:
    """Runs `python WORDS` on a terminal of so many columns, without error; what it prints."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    program = Program(words, folder, variables, terminal=os.ttyname(theirs))
    os.close(theirs)
    output = b""
    while True:
        try:
            output += os.read(ours, 65536)
        except OSError:  # what Linux says when the other side has closed
            break
    os.close(ours)
    assert program.wait() == 0, output
    return output.decode()


def _ask(**request: Any) -> Any:
    global _server
    if _server is None:
        tests = str(Path(__file__).parents[1])
        command = f"import sys; sys.path.insert(0, {tests!r}); import {IMPORTS}, {OURS}; "
        command += "from helpers.programs import serve; serve()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        _server = subprocess.Popen([sys.executable, "-c", command], text=True, **pipes)
        atexit.register(_server.terminate)
    assert _server.stdin
    assert _server.stdout
    print(json.dumps(request), file=_server.stdin, flush=True)
    return json.loads(_server.stdout.readline())


def serve() -> None:
    """Forks a program for each line that asks for one, and answers whether one has ended."""
    _compose_once()
    for finalizer in weakref.finalize._registry:  # type: ignore[attr-defined]
        finalizer.atexit = False  # torch's libraries, which are no program's to take apart
    gc.freeze()  # what is imported is no garbage of a program's
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            paths = ["/dev/null", *request.pop("streams")]
            flags = [os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_NOCTTY] * 2]
            streams = list(map(os.open, paths, flags))
            answer = os.fork()
            if answer == 0:
                _become(streams=streams, **request)
            for number in streams:
                os.close(number)
        print(json.dumps(answer), flush=True)


def _compose_once() -> None:
    """So that a program finds Hydra's plugins, its grammar and our configuration read."""
    from hydra import compose, initialize_config_dir

    from helpers.left_out import leave_out
    from helpers.remembered import remember_configurations
    from hpml.config.conf import find_conf

    remember_configurations()
    leave_out()
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        small = ["data=synthetic", "model=small"]
        for words in ([], small, [*small, "callbacks=none"]):
            compose("train", words, return_hydra_config=True)


def _forget_other_hpml() -> None:
    """So that a program imports the hpml which is first on its path."""
    ours, found = sys.modules["hpml"].__file__, PathFinder.find_spec("hpml")
    if found is not None and found.origin != ours:
        for name in [name for name in sys.modules if name.startswith(("hpml.", "hydra_plugins."))]:
            del sys.modules[name]
        del sys.modules["hpml"]


def _become(
    words: list[str],
    folder: str,
    environment: dict[str, str],
    streams: list[int],
    limits: dict[str, int],
) -> None:
    """This process is the program from now on, and ends as Python would."""
    exit_code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, name), (limit, limit))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, encoding="utf-8", buffering=1)
            for number, mode in enumerate("rww")
        )
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        more = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        is_module = words[0] == "-m"
        sys.argv = words[is_module:]
        sys.path[:2] = [folder if is_module else str(Path(words[0]).parent), *more]
        _forget_other_hpml()
        if is_module:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
        exit_code = 0
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        try:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
        finally:
            os._exit(exit_code)
