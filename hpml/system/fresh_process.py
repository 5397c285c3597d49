"""Calls a function in a fresh process, so that no measurement inherits another one's state."""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from typing import Any

from hpml.errors import RunFailedError, UserError

TO_CLEAR_UP_S = 10.0  # for the workers of a loader, say
# What takes seconds to import: a server does so once, and each fresh process is a fork of it. Names
# and not modules, for this process is to import none of them; not ours, which take 0.07 s together.
PRELOADED = ("torch", "torchvision", "lightning", "hydra.utils")


def run_in_fresh_process(
    function: Callable[..., Any], *arguments: Any, preload: Sequence[str] = PRELOADED
) -> Any:
    """What `function(*arguments)` returns in a process of its own, which ends with this one.

    Both have to be picklable. `preload` are the modules that the first call has imported for all.

    Raises UserError where it does; RunFailedError with the other process's traceback for any other
    error, or for its death; ModuleNotFoundError for `preload`, where the server would keep silent.
    """
    forks = sys.platform.startswith("linux")  # elsewhere a fork of what torch has begun may fail
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        for name in preload:
            if find_spec(name) is None:
                raise ModuleNotFoundError(f"preload: there is no module {name}")
        context.set_forkserver_preload(list(preload))
        _start_server()
        atexit.unregister(_end_server)
        atexit.register(_end_server)
    ours, theirs = context.Pipe()
    usual = multiprocessing.get_start_method()
    # its temporary files, which it cannot clear away if it is ended
    with TemporaryDirectory(prefix="hpml-", ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_work, args=(usual, folder, theirs, function, arguments))
        process.start()
        theirs.close()
        try:
            kind, result = ours.recv()
            process.join(TO_CLEAR_UP_S)
        except EOFError:
            process.join()
            died = f"a measuring process died (exit code {process.exitcode})"
            raise RunFailedError(died) from None
        finally:
            process.kill()
            process.join()
            ours.close()
    if kind == "wrong input":
        raise UserError(result)
    if kind == "failed":
        raise RunFailedError(f"a measuring process failed:\n{result}")
    return result


def _start_server() -> None:
    """Has it hear nothing of Ctrl-C, which a terminal sends to all: the caller ends it."""
    resource_tracker.ensure_running()  # which lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_server() -> None:
    """Waits for the server's end: else both take away its socket, and one finds it gone."""
    with suppress(Exception):
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


def _work(
    start_method: str, folder: str, connection: Connection, function: Callable[..., Any], args: Any
) -> None:
    tempfile.tempdir = folder
    # else a loader's workers would be started as this process was, which is another measurement
    multiprocessing.set_start_method(start_method, force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the caller ends us
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    try:
        answer = "result", function(*args)
    except UserError as error:
        answer = "wrong input", str(error)
    except BaseException:
        answer = "failed", traceback.format_exc().strip()
    connection.send(answer)


def _end_with(connection: Connection) -> None:
    """Ends this process once the caller has ended, or has what it asked for."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)
