"""A git revision of the project, checked out beside it, with an environment of its own if asked."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpml.errors import UserError

BIN = "Scripts" if sys.platform == "win32" else "bin"


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
    """Also of git's list, where git cannot remove it: something in it may be held."""
    git("worktree", "remove", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
    git("worktree", "prune")


def install(words: Sequence[str], name: str, tree: Path, place: Path) -> Path:
    """Runs a command in a tree, in a fresh virtual environment; its Python. Raises UserError."""
    _run([sys.executable, "-m", "venv", str(place)], name, tree, {})
    own = {"VIRTUAL_ENV": str(place), "PATH": f"{place / BIN}{os.pathsep}{os.environ['PATH']}"}
    _run(words, name, tree, own)
    return place / BIN / "python"


def _run(words: Sequence[str], name: str, tree: Path, variables: Mapping[str, str]) -> None:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    shown = shlex.join(words)
    try:
        done = subprocess.run(
            words,
            cwd=tree,
            env=kept | dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise UserError(f"{name}: does not install: {shown}: {error.strerror}") from error
    if done.returncode:
        said = _last_line(done.stderr) or _last_line(done.stdout)
        raise UserError(
            f"{name}: does not install: {shown} fails with exit code {done.returncode}: {said}"
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    return (errors or lines or [""])[-1]
