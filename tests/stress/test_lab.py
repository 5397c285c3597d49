"""A lab killed at any moment, and started again with the same name, ends as if it never was."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hpml.records.run_record import RecordError, RunRecord

pytestmark = pytest.mark.stress

LAB = [sys.executable, "-m", "hpml.lab", "lab.name=l", "data=synthetic", "model=small"]
LAB += ["data.train_samples=512", "trainer.max_epochs=1", "callbacks=none", "+summary.seeds=1"]
LAB += ["sweep.on_code_change=keep"]  # someone may be at work on the sources
LAB += ["+workers.rounds=1", "+workers.seconds=0.1", "+workers.most=1", "+diagnose.budget_s=2"]
RESULTS = ("summary/*.json", "workers/workers.json", "diagnosis/diagnosis.json")


class Killed:
    """A lab's folder on this machine, and what is finished in it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.lab = folder / "outputs" / "labs" / "l"
        self.words = words

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("wb") as output:
            return subprocess.Popen(
                [*LAB, *self.words], cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        """Of the last start."""
        return (self.folder / "output.txt").read_text()

    def finished(self) -> dict[str, tuple[int, bytes]]:
        """When each result and each complete record was written, and what it holds."""
        found = {}
        for pattern in RESULTS:
            for file in self.lab.glob(f"*/{pattern}"):
                try:
                    json.loads(file.read_text())
                except ValueError:
                    continue
                found[str(file)] = (file.stat().st_mtime_ns, file.read_bytes())
        for file in self.lab.glob("*/*/*/record.json"):
            try:
                completed = RunRecord.read(file).status == "completed"
            except RecordError:
                continue
            if completed:
                found[str(file)] = (file.stat().st_mtime_ns, file.read_bytes())
        return found

    def log_of(self, task: str) -> bool:
        return next(self.lab.glob(f"*/logs/{task}"), None) is not None

    def left_behind(self) -> list[str]:
        """The processes that started in this folder, after the time that they have to end."""
        for _ in range(100):
            found = []
            for process in psutil.process_iter():
                try:
                    if process.cwd() == str(self.folder) and process.status() != "zombie":
                        found.append(" ".join(process.cmdline()))
                except (psutil.Error, OSError):
                    continue
            if not found:
                break
            time.sleep(0.1)
        return found


def wait_for(
    lab: Killed, condition: Callable[[], object], process: subprocess.Popen[bytes]
) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, lab.output
        assert time.monotonic() < until, lab.output
        time.sleep(0.02)


def test_a_lab_killed_in_each_of_its_parts_repeats_nothing(tmp_path: Path) -> None:
    """What is finished stays as it is, no process is left, the report is complete at the end."""
    lab = Killed(tmp_path, "lab.parts=[c1,c3,c4,c6,q1]")
    moments: dict[str, Callable[[], object]] = {
        "while a few steps are measured": lambda: lab.lab.exists(),
        "while a summary counts": lambda: lab.log_of("summary-adam"),
        "in the search for workers": lambda: lab.log_of("workers"),
        "in the diagnosis": lambda: lab.log_of("diagnosis"),
        "in a training": lambda: len(list(lab.lab.glob("*/training/*/record.json"))) > 2,
    }
    before: dict[str, tuple[int, bytes]] = {}
    for moment, is_now in moments.items():
        process = lab.start()
        wait_for(lab, is_now, process)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lab.left_behind() == [], moment
        after = lab.finished()
        assert {file: after.get(file) for file in before} == before, moment
        before = after
    assert len(before) > 5  # summaries, search, diagnosis, at least two trainings
    process = lab.start()
    assert process.wait(timeout=280) == 0, lab.output
    after = lab.finished()
    assert {file: after.get(file) for file in before} == before
    assert len(after) == 2 + 1 + 1 + 5
    assert lab.left_behind() == []
    report = (lab.lab / "report.md").read_text()
    assert report.count("No figures yet") == 1  # C7: this network has no `norm`
    assert not [file for file in lab.lab.rglob("*.json.*") if file.is_file()]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("diagnose", ["diagnose.budget_s=60", "data.num_workers=2"]),
        ("workers", ["workers.seconds=1"]),
    ],
)
@pytest.mark.parametrize("after_s", [1.0, 6.0, 12.0])
def test_ctrl_c_while_it_measures(
    program: str, words: list[str], after_s: float, tmp_path: Path
) -> None:
    """One line, exit code 130; no process and nothing temporary is left."""
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", f"hpml.{program}", "experiment=slow_loading", *words]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(after_s)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert Killed(tmp_path).left_behind() == []
    left = [path.name for path in (tmp_path / "temporary").iterdir()]
    assert not [name for name in left if name.startswith(("hpml-", "pymp-"))], left


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_lab_ends_in_order(tmp_path: Path, number: int, code: int) -> None:
    """Within a training: its record says so, there is a report, and the next start goes on."""
    lab = Killed(tmp_path, "lab.parts=[c1,c6]")
    process = lab.start()
    wait_for(lab, lambda: len(list(lab.lab.glob("*/training/*/record.json"))) > 1, process)
    process.send_signal(number)
    assert process.wait(timeout=120) == code, lab.output
    assert "interrupted; the same command resumes from here\n" in lab.output
    assert "Traceback" not in lab.output
    assert lab.left_behind() == []
    assert (lab.lab / "report.html").exists()
    before = lab.finished()
    assert before
    process = lab.start()
    assert process.wait(timeout=280) == 0, lab.output
    after = lab.finished()
    assert {file: after.get(file) for file in before} == before
    assert len(after) == 5
