"""A project under comparison."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of two commits, in which the second one's script is broken."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> None:
        subprocess.run(["git", *own, *words], check=True, capture_output=True)

    git("init", "-b", "main")
    for number, code in enumerate(("print('one')", "raise ValueError('broken in two')")):
        Path("train.py").write_text(code + "\n")
        git("add", "-A")
        git("commit", "-m", str(number))
    return folder
