"""A lab killed at any moment, and started again with the same name, ends as if it never was."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpml.records.run_record import RunRecord, read_records
from hpml.system.files import read_json

pytestmark = pytest.mark.stress

LAB = [sys.executable, "-m", "hpml.lab", "lab.name=l", "data=synthetic", "model=small"]
LAB += ["data.train_samples=512", "trainer.max_epochs=1", "callbacks=none", "+summary.seeds=1"]
LAB += ["sweep.on_code_change=keep"]  # someone may be at work on the sources
LAB += ["+workers.rounds=1", "+workers.seconds=0.1", "+workers.most=1", "+diagnose.budget_s=2"]
LAB += ["lab.budget_min=60"]
RESULTS = ("*/summary/*.json", "*/workers/workers.json", "*/diagnosis/diagnosis.json")


@dataclass
class Killed:
    """A lab's folder on this machine, and what was finished when the process before ended."""

    folder: Path
    parts: str
    finished_before: dict[Path, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def lab(self) -> Path:
        return self.folder / "outputs" / "labs" / "l"

    def start(self, until: Callable[[], object] | None = None) -> subprocess.Popen[bytes]:
        """Starts it, and waits for a moment or for its completion."""
        with (self.folder / "output.txt").open("wb") as output:
            to_file: Any = {"stdout": output, "stderr": subprocess.STDOUT}
            process = subprocess.Popen([*LAB, self.parts], cwd=self.folder, **to_file)
        if until is None:
            assert process.wait(timeout=280) == 0, self.output
            return process
        latest = time.monotonic() + 300
        while not until():
            assert process.poll() is None, self.output
            assert time.monotonic() < latest, self.output
            time.sleep(0.02)
        return process

    def assert_all_kept(self, moment: str = "") -> int:
        """No process is left, and what was finished before is as it was; what is finished now."""
        assert left_behind(self.folder) == [], moment
        files = [file for pattern in RESULTS for file in self.lab.glob(pattern) if read_json(file)]
        for directory, record in read_records([self.lab]):
            if isinstance(record, RunRecord) and record.status == "completed":
                files.append(directory / "record.json")
        finished = {file.resolve(): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
        kept = {file: finished.get(file) for file in self.finished_before}
        assert kept == self.finished_before, moment
        self.finished_before = finished
        return len(finished)

    @property
    def output(self) -> str:
        """Of the last start."""
        return (self.folder / "output.txt").read_text()

    @property
    def plans(self) -> list[dict[str, Any]]:
        """As the state of the only machine has them."""
        states = [read_json(file) for file in self.lab.glob("*/lab.json")]
        return states[0]["plans"] if states and states[0] else []

    def has(self, pattern: str, least: int = 1) -> bool:
        return len(list(self.lab.glob(pattern))) >= least


def left_behind(folder: Path) -> list[str]:
    """The processes that started in a folder, after the time that they have to end."""
    for _ in range(600):  # a busy machine takes seconds to end an interpreter
        commands = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.cwd() == str(folder) and process.status() != "zombie":
                    commands.append(" ".join(process.cmdline()))
        if not commands:
            break
        time.sleep(0.1)
    return commands


def test_a_lab_killed_in_each_of_its_parts_repeats_nothing(tmp_path: Path) -> None:
    """What is finished stays as it is, and so does the plan; the report is complete at the end."""
    lab = Killed(tmp_path, "lab.parts=[c1,c3,c4,c6,c7,q1]")
    moments: dict[str, Callable[[], object]] = {
        "while a few steps are measured": lambda: lab.lab.exists(),
        "while a summary counts": lambda: lab.has("*/summary/*.json"),
        "in the search for workers": lambda: lab.has("*/logs/workers"),
        "in the diagnosis": lambda: lab.has("*/logs/diagnosis"),
        "in a training": lambda: lab.has("*/training/*/record.json", 3),
        "in the training without normalisation": lambda: lab.has("*/no_norm/*/record.json"),
    }
    plans = []
    for moment, is_now in moments.items():
        process = lab.start(until=is_now)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = lab.assert_all_kept(moment)
        plans += lab.plans
    assert finished > 9  # summaries, search, diagnosis, trainings
    lab.start()
    assert lab.assert_all_kept() == 4 + 1 + 1 + 6
    plans += lab.plans
    assert len(plans) == len(moments)  # one a start, but for the one that had not planned yet
    assert len({(each["at"], each["seconds"]) for each in plans}) == 1
    report = (lab.lab / "report.md").read_text()
    assert report.count("No figures yet") == 0
    assert r"| \> " in report  # what was killed took longer than is known
    assert not [file for file in lab.lab.rglob("*.json.*") if file.is_file()]


@pytest.mark.parametrize(
    "words", ["diagnose diagnose.budget_s=60 data.num_workers=2", "workers workers.seconds=1"]
)
@pytest.mark.parametrize("after_s", [1.0, 6.0, 12.0])
def test_ctrl_c_while_it_measures(words: str, after_s: float, tmp_path: Path) -> None:
    """One line, exit code 130; no process and nothing temporary is left."""
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", *f"hpml.{words} experiment=slow_loading".split()]
    streams: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    env = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, start_new_session=True, **streams)
    time.sleep(after_s)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert left_behind(tmp_path) == []
    left = [path.name for path in (tmp_path / "temporary").iterdir()]
    assert not [name for name in left if name.startswith(("hpml-", "pymp-"))], left


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_lab_ends_in_order(tmp_path: Path, number: int, code: int) -> None:
    """Within a training: its record says so, there is a report, and the next start resumes."""
    lab = Killed(tmp_path, "lab.parts=[c1,c6]")
    process = lab.start(until=lambda: lab.has("*/training/*/record.json", 2))
    process.send_signal(number)
    assert process.wait(timeout=120) == code, lab.output
    assert "interrupted; the same command resumes from here\n" in lab.output
    assert "Traceback" not in lab.output
    assert (lab.lab / "report.html").exists()
    assert lab.assert_all_kept()
    lab.start()
    assert lab.assert_all_kept() == 5


def test_one_name_on_two_hosts_of_one_kind(tmp_path: Path) -> None:
    """The second one joins, is warned, and the page calls no optimizer the fastest of both."""
    own_name = ["unshare", "-Ur", "--uts", "bash", "-c"]
    if subprocess.run([*own_name, "hostname a"], capture_output=True, check=False).returncode:
        pytest.skip("the system gives no host a name of its own here")

    def on(host: str, parts: str) -> str:
        lab = shlex.join([*LAB, f"lab.parts=[{parts}]"])
        command = [*own_name, f"hostname {host}; exec {lab}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "of the same kind" not in on("node-a", "c1")
    assert "lab.name=l: was run on node-a too, of the same kind as node-b" in on("node-b", "c6,c7")
    (report,) = tmp_path.glob("outputs/labs/l/report.md")
    answers = report.read_text().replace("\\", "")
    both = "2 hosts of one kind, node-a, node-b"
    assert f"They are not compared by time: they ran on {both}." in answers
    assert f"The runs are of {both}: what these differ in is in the times." in answers
    assert "which may be for the hosts they ran on" in answers
    (sweep,) = tmp_path.glob("outputs/labs/l/*/training/report.md")
    assert "host: node-a (1 run), node-b (4 runs)" in sweep.read_text().replace("\\", "")
