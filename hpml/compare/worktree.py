"""A git revision of the project, checked out beside it, with an environment of its own if asked."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hpml.errors import UserError

BIN = "Scripts" if sys.platform == "win32" else "bin"
INSTALL_S = 1800.0  # what an installation may take


class LoggedError(UserError):
    """What one of the two sides runs has failed; `log` is what that has printed."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


def git(*words: str) -> str | None:
    """What git prints; None where it fails, or is not there."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def commit_of(revision: str) -> str | None:
    """Its full name; None where the project in the working directory has no such revision."""
    if revision.startswith("-"):
        return None
    return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")


def project_root() -> Path:
    """Of the project in the working directory. Raises UserError."""
    root = git("rev-parse", "--show-toplevel")
    if root is None:
        raise UserError(f"{Path.cwd()}: is in no git repository, which revisions are of")
    return Path(root)


def check_out(commit: str, name: str, tree: Path) -> None:
    """Makes a tree of its own of a commit. Raises UserError."""
    done = subprocess.run(
        [
            "git",
            "-c",
            f"core.hooksPath={os.devnull}",
            "worktree",
            "add",
            "--detach",
            "--quiet",
            str(tree),
            commit,
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(f"{name}: cannot be checked out: {_last_line(done.stderr)}")


def remove(tree: Path) -> None:
    """Also of git's list, where git cannot remove it: something in it may be held.

    Other trees stay in the list, also one whose folder is absent, on a disk that is not there.
    """
    words = ("worktree", "remove", "--force", "--force", str(tree))  # also one that is half made
    git(*words)
    shutil.rmtree(tree, ignore_errors=True)
    git(*words)


def activated(place: Path) -> dict[str, str]:
    """Variables of a process in a virtual environment."""
    path = os.pathsep.join([str(place / BIN), os.environ.get("PATH", os.defpath)])
    return {"VIRTUAL_ENV": str(place), "PATH": path}


def install(
    words: Sequence[str],
    name: str,
    tree: Path,
    place: Path,
    log: Path,
    variables: Mapping[str, str],
) -> Path:
    """Runs a command in a tree, in a fresh virtual environment; its Python.

    What it prints goes to `log`. Raises LoggedError where it fails or takes longer than INSTALL_S;
    UserError where there is no such command.
    """
    _run([sys.executable, "-m", "venv", str(place)], name, tree, log, variables)
    _run(words, name, tree, log, {**variables, **activated(place)})
    return place / BIN / "python"


def _run(
    words: Sequence[str], name: str, tree: Path, log: Path, variables: Mapping[str, str]
) -> None:
    """Ends all that it has started, whatever ends it."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    what = f"{name}: does not install: {shlex.join(words)}"
    try:
        with log.open("w") as output:
            process = subprocess.Popen(
                words,
                cwd=tree,
                env=kept | dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(f"{what}: {error.strerror}") from error
    try:
        code = process.wait(INSTALL_S)
        how = f"fails with exit code {code}"
    except subprocess.TimeoutExpired:
        code, how = -1, f"has not ended within {INSTALL_S / 60:g} minutes"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code:
        said = _last_line(log.read_text(errors="replace"))
        raise LoggedError(f"{what} {how}: {said}", log)


def _last_line(text: str) -> str:
    """Of what was printed; of errors in it, where there are some."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    return (errors or lines or ["it says nothing"])[-1]
