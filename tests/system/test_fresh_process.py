"""A function in a process of its own: what comes back, and what does not stay."""

import multiprocessing
import os
import signal
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpml.errors import RunFailedError, UserError
from hpml.system import fresh_process

STATE: list[int] = []
call = partial(fresh_process.run_in_fresh_process, preload=("pytest", "psutil"))


def remember(number: int) -> tuple[int, list[int], str]:
    STATE.append(number)
    return os.getpid(), STATE, multiprocessing.get_start_method()


def refuse() -> None:
    raise UserError("data.root=/nowhere: is not there")


def fail() -> None:
    raise ValueError("a bug")


def leave_a_file_and_die() -> None:
    Path(tempfile.mkdtemp(), "a").touch()
    signal.raise_signal(signal.SIGKILL)


def leave_pid_and_wait(file: Path) -> None:
    file.write_text(str(os.getpid()))
    time.sleep(60)


def call_and_wait(file: Path) -> None:
    call(leave_pid_and_wait, file)


def test_each_call_has_a_process_of_its_own() -> None:
    """With nothing of another call, or of here; and processes start in it as they do here."""
    first, second = call(remember, 1), call(remember, 2)
    assert len({first[0], second[0], os.getpid()}) == 3
    assert (first[1], second[1], STATE) == ([1], [2], [])
    assert first[2] == multiprocessing.get_start_method()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (refuse, UserError, r"^data.root=/nowhere: is not there$"),
        (fail, RunFailedError, r"(?s)in fail\n.*ValueError: a bug"),
        (leave_a_file_and_die, RunFailedError, r"died .*-9"),
    ],
)
def test_what_went_wrong_comes_back(
    tmp_path: Path, monkeypatch: Any, function: Any, error: type[Exception], message: str
) -> None:
    """Wrong input in its line, a failure's traceback, a death's exit code; nothing temporary."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(error, match=message):
        call(function)
    assert list(tmp_path.glob("hpml-*")) == []


def test_it_ends_with_its_caller(tmp_path: Path) -> None:
    """Also where the caller is killed."""
    file = tmp_path / "pid"
    caller = multiprocessing.get_context("spawn").Process(target=call_and_wait, args=(file,))
    caller.start()
    until = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process = psutil.Process(int(file.read_text()))
    caller.kill()
    caller.join()
    process.wait(timeout=20)
    assert not process.is_running()


def test_what_is_to_be_imported_ahead_has_to_be_there() -> None:
    """The server itself would leave it out without a word, and each call take seconds more."""
    assert all(map(find_spec, fresh_process.PRELOADED))
    with pytest.raises(ModuleNotFoundError, match="there is no module hpml_nothing"):
        fresh_process.run_in_fresh_process(remember, 1, preload=["hpml_nothing"])
