"""Comparisons with processes of their own: what is planted is found, and where."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import ROOT

pytestmark = pytest.mark.stress
JOB = ROOT / "tests" / "helpers" / "gated_job.py"
# Nobody looks at what others take, so that a busy machine gives an answer too.
UNSEEN = {"HPML_PROC": "/nonexistent"}
QUICK = ("--budget=900", "--steps=6")


def asked(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the answer as it was kept, and what stood on stderr."""
    environment = os.environ | UNSEEN | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "hpml.compare", *words, "--output=answer"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    file = folder / "answer" / "compare.json"
    return done.returncode, json.loads(file.read_text()) if file.exists() else {}, done.stderr


def test_a_planted_sleep_is_found_in_its_phase(tmp_path: Path) -> None:
    """A data set that waits twice as long: exit code 1, and the phase is named."""
    code, answer, _ = asked(tmp_path, f"{JOB} --base-ms 15", f"{JOB} --base-ms 75", *QUICK)
    assert (code, answer["verdict"]) == (1, "slower")
    assert max(answer["phases"], key=lambda each: each["share"]["mean"])["name"] == "data"
    assert answer["notes"][0] == "the first losses are the same to the bit"


def test_the_same_twice_is_not_slower(tmp_path: Path) -> None:
    """By a wide threshold, also where other programs run."""
    code, answer, _ = asked(
        tmp_path, f"{JOB} --base-ms 15", f"{JOB} --base-ms 15", *QUICK, "--slower-than=150%"
    )
    assert (code, answer["verdict"]) == (0, "not slower")


def test_overrides_of_ours(tmp_path: Path) -> None:
    """A wider network, told from the job as it is; nothing is left but the answer."""
    run = "--run=experiment=demo callbacks=none logger=none data.batch_size=16"
    words = ("", "model=resnet18", run, *QUICK)
    code, answer, _ = asked(tmp_path, *words)
    assert (code, answer["verdict"]) == (1, "slower")
    assert answer["notes"][0].startswith("the first losses differ")
    assert [path.name for path in tmp_path.iterdir()] == ["answer"]


def test_revisions(tmp_path: Path) -> None:
    """The second one waits longer, the third cannot train: exit codes 1 and 2."""
    script = tmp_path / "train.py"
    own = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    text = JOB.read_text()
    slow = text.replace("given.sleep_ms + given.base_ms", "5 * given.base_ms")
    broken = text.replace(
        "def main() -> None:", 'def main() -> None:\n    raise ValueError("broken")'
    )
    subprocess.run([*own, "init", "-b", "main"], cwd=tmp_path, check=True, capture_output=True)
    for number, code in enumerate((text, slow, broken)):
        script.write_text(code)
        subprocess.run([*own, "add", "train.py"], cwd=tmp_path, check=True)
        subprocess.run([*own, "commit", "-qm", str(number)], cwd=tmp_path, check=True)
    run = "--run=train.py --base-ms 15"
    code, answer, _ = asked(tmp_path, "HEAD~2", "HEAD~1", run, *QUICK)
    assert (code, answer["verdict"]) == (1, "slower")
    assert len(answer["commits"]["before"]) == 40
    code, _, stderr = asked(tmp_path, "HEAD~1", ".", run, *QUICK)
    said = "fails with exit code 1: ValueError: broken; its output: answer/after.log"
    assert (code, stderr) == (2, f"error: .: {said}\n")


def test_a_side_that_is_killed(tmp_path: Path) -> None:
    """The round is repeated once; then the side has failed, also where undecided may pass."""
    words = (f"{JOB} --killed", str(JOB), *QUICK)
    code, _, stderr = asked(tmp_path, *words, "--undecided=pass")
    assert code == 2
    assert "was killed 2 times, and the other side never" in stderr
