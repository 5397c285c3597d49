"""A revision's tree and environment: what they leave behind, and how an installation may end."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpml.compare import worktree
from hpml.compare.comparison import compare
from hpml.compare.question import questions_of
from hpml.errors import UserError

Failing = Callable[..., str]


def trees() -> list[str]:
    """In git's list, the project's own first."""
    told = worktree.git("worktree", "list", "--porcelain")
    assert told is not None
    return [line for line in told.splitlines() if line.startswith("worktree ")]


@pytest.fixture
def fails_with(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failing:
    """What a comparison raises whose `--install` is these words of a shell."""
    run = worktree._run
    monkeypatch.setattr(
        worktree, "_run", lambda words, *rest: None if "venv" in words else run(words, *rest)
    )

    def ask(code: str, kind: type[BaseException] = UserError) -> str:
        questions, install = questions_of("step", "3%"), f"sh -c '{code}'"
        settings: dict[str, Any] = {"run": "train.py", "logs": tmp_path / "answer"}
        lines: list[str] = []
        with pytest.raises(kind) as failed:
            compare("HEAD~1", "main", questions, install=install, report=lines.append, **settings)
        assert lines == ["HEAD~1: installs"]
        return str(failed.value)

    return ask


def test_a_revision_that_does_not_install(fails_with: Failing, tmp_path: Path) -> None:
    """One line has its name, the command, its last line of an error, and where all of it is."""
    said = fails_with("echo error: no wheel >&2; echo more; exit 3")
    log = tmp_path / "answer" / "before.log"
    assert said.startswith("HEAD~1: does not install: sh -c ")
    assert said.endswith(f" fails with exit code 3: error: no wheel; its output: {log}")
    assert log.read_text() == "error: no wheel\nmore\n"
    assert len(trees()) == 1


def hanging(pids: Path, then: str = "true") -> str:
    """Begins a process in its group and one that leaves it, and waits for both."""
    begin = "sleep 60 & own=$!; setsid sleep 60 & echo waits"
    return f"{begin}; echo $own $! > {pids}.new; mv {pids}.new {pids}; {then}; wait"


def have_ended(pids: Path) -> bool:
    """A zombie has too: what starts this machine's processes may not wait for orphans."""
    until_s = time.monotonic() + 10.0
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 2
    while left and time.monotonic() < until_s:
        left = [pid for pid in left if _runs(pid)]
    return not left


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_installation_that_hangs_is_ended(
    fails_with: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half an hour, with all that it has started, in its group or out of it."""
    wait, pids = subprocess.Popen.wait, tmp_path / "pids"

    def wait_long(process: Any, timeout: float | None = None) -> int:
        if process.args[0] != "sh" or timeout is None:
            return wait(process, timeout)
        while not pids.exists():
            assert process.poll() is None
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_long)
    said = fails_with(hanging(pids))
    assert " has not ended within 30 minutes: waits; its output: " in said
    assert have_ended(pids)
    assert len(trees()) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_installation_ends_with_the_comparison(
    fails_with: Failing, tmp_path: Path, kind: type[BaseException]
) -> None:
    """By Ctrl-C, or where a signal has it exit; nothing that it has started goes on."""

    def handle(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        fails_with(hanging(tmp_path / "pids", f"kill -USR1 {os.getpid()}"), kind)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert have_ended(tmp_path / "pids")
    assert len(trees()) == 1


def test_what_an_installation_leaves_behind_is_ended(tmp_path: Path) -> None:
    """Where it succeeds too: the sides are measured next."""
    pids = tmp_path / "pids"
    code = f"sleep 60 & echo $! > {pids}; sleep 60 & echo $! >> {pids}"
    worktree._run(["sh", "-c", code], "main", tmp_path, tmp_path / "log", {})
    assert have_ended(pids)


def check_out(revision: str, tree: Path) -> None:
    worktree.check_out(str(worktree.commit_of(revision)), revision, tree)


def test_hooks_of_a_project_are_not_run(project: Path, tmp_path: Path) -> None:
    """Trees are checked out without them; a tree that is gone is not left in git's list."""
    hook = project / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    check_out("main", tmp_path / "tree")
    shutil.rmtree(tmp_path / "tree")
    worktree.remove(tmp_path / "tree")
    assert len(trees()) == 1


def test_trees_of_others_stay_in_the_list(project: Path, tmp_path: Path) -> None:
    """Also where their folder is absent; of ours one that is half made, and locked, is dropped."""
    for name in ("absent", "ours"):
        check_out("main", tmp_path / name)
    (tmp_path / "absent").rename(tmp_path / "unmounted")
    worktree.git("worktree", "lock", str(tmp_path / "ours"))
    (tmp_path / "ours" / ".git").unlink()
    worktree.remove(tmp_path / "ours")
    assert trees()[1:] == [f"worktree {tmp_path / 'absent'}"]
    (tmp_path / "unmounted").rename(tmp_path / "absent")
    assert worktree.git("-C", str(tmp_path / "absent"), "status", "--porcelain") == ""
