"""The program `python -m hpml.lab`: what it refuses, what it runs, what it does not run again."""

import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers.records import MACHINE, make_run
from hydra.core.global_hydra import GlobalHydra

from hpml.cli.program import run_hydra
from hpml.config.fingerprint import key_of
from hpml.errors import UserError
from hpml.lab import __main__ as lab
from hpml.lab.plan import Pilot
from hpml.lab.tasks import Task
from hpml.system import fresh_process
from hpml.system.signals import RunInterrupted
from hpml.workers.__main__ import searched
from hpml.workers.search import Found, Measured

HERE = MACHINE | {"cpu": "AMD EPYC"}
QUICK = ("data=synthetic", "lab.name=l")


class Parts:
    """Stands for what the lab starts: each part writes what the real one would.

    Attributes:
        started: the keys of the tasks, in their order.
        trained: of the trainings `OPTIMIZER on DEVICE, WORKERS, LIMIT`.
        ends: for a task's key an exception to raise, or False for a failure.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.trained: list[str] = []
        self.commands: dict[str, dict[str, str]] = {}
        self.ends: dict[str, Any] = {}
        self.environment = HERE
        self.step_s = 0.01

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """In place of `isolated.call`: neither a process nor a measurement."""
        if function.__name__ == "describe":
            return self.environment
        if function.__name__ == "pilot":
            self.started.append(f"pilot {arguments[0]['device']}")
            environment = self.environment | {"device": arguments[0]["device"]}
            return Pilot(self.step_s, 1.0, 0.1, 0.1, 100, environment)
        if "encoded" in arguments[0]["data"]:  # synthetic data take a second
            return None
        return function(*arguments)

    def run(self, task: Task, folder: Path) -> bool:
        """In place of a command."""
        self.started.append(task.key)
        values = {key_of(word): word.partition("=")[2] for word in task.words}
        self.commands[task.key] = values
        end = self.ends.get(task.key)
        if isinstance(end, BaseException):
            raise end
        if end is False:
            return False
        if task.result is not None:
            task.result.parent.mkdir(parents=True, exist_ok=True)
            task.result.write_text(json.dumps(self._result_of(task)))
            return True
        for optimizer in values["optimizer"].split(","):
            for seed in values["seed"].split(","):
                for device in values["device"].split(","):
                    self._train(folder / task.name, optimizer, seed, device, values)
        return True

    def _train(
        self, folder: Path, optimizer: str, seed: str, device: str, values: dict[str, str]
    ) -> None:
        name = f"optimizer={optimizer},seed={seed},device={device}"
        if (folder / name).exists():
            return
        config = {"seed": int(seed), "device": device, "monitor": "train/accuracy"}
        choices = {"optimizer": optimizer, "model": "resnet18", "data": "synthetic"}
        make_run(folder, name, config=config, choices=choices)
        limit = values.get("trainer.limit_train_batches")
        self.trained.append(f"{optimizer} on {device}, {values['data.num_workers']}, {limit}")

    def _result_of(self, task: Task) -> dict[str, Any]:
        if task.name == "workers":
            found, generator = Found(), random.Random(0)
            for count, seconds in ((0, 3), (1, 2), (2, 1), (3, 2), (4, 3)):
                for number in range(5):
                    measured_s = seconds * generator.gauss(1, 0.01)
                    found.add(count, number, Measured(measured_s / 2, measured_s))
            return found.as_dict() | {"sentences": found.sentences(0)}
        if task.name == "diagnosis":
            return {"diagnoses": {}, "comparison": ["they differ"]}
        return {
            "name": "n",
            "conv_layers": 20,
            "conv_layers_main_path": 17,
            "conv_layers_shortcuts": 3,
            "linear_in_features": 512,
            "trainable_parameters": 10,
        }


composed: dict[tuple[str, ...], dict[str, Any]] = {}  # which takes most of a start's time


def compose(overrides: list[str], made: Callable[..., dict[str, Any]] = lab._composed) -> Any:
    key = tuple(overrides)
    if key not in composed:
        composed[key] = made(overrides)
    return composed[key]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    made = Parts()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPML_OUTPUTS", raising=False)
    monkeypatch.setattr(fresh_process, "call", made.call)
    monkeypatch.setattr(lab, "_run", made.run)
    monkeypatch.setattr(lab, "_composed", compose)
    monkeypatch.setattr(lab, "measured_start_s", lambda: 1.0)
    monkeypatch.setattr(lab.environment, "probe_devices", dict)
    monkeypatch.setattr(lab.environment, "warning_of_others", lambda: None)
    for module in ("figures", "machine"):
        monkeypatch.setattr(f"hpml.lab.{module}.draw_for", lambda *arguments: [])
    monkeypatch.setattr("hpml.lab.report.figures.draw_workers", lambda *arguments: {})
    return made


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The program within this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["lab", *words])
    try:
        run_hydra(lab.job, config_name="lab", sweeps=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        GlobalHydra.instance().clear()
    return 0


Start = Callable[..., int]


@pytest.fixture
def start(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts the lab of the name `l`, as after any other one; its exit code."""

    def started(*words: str) -> int:
        parts.started.clear()
        parts.trained.clear()
        return run(monkeypatch, *QUICK, *words)

    return started


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lab.parts=[c9]"], r"lab.parts=\[c9\]: give some of c1, c2, .*, q4"),
        (["lab.parts=7"], r"lab.parts=\[7\]: give some of .*"),
        (["lab.parts=[]"], r"lab.parts=\[\]: give some of .*"),
        (["lab.name=a/b"], r"lab.name=a/b: give a plain name, .*"),
        (["lab.name=.."], r"lab.name=\.\.: give a plain name, .*"),
        (["lab.nmae=a"], r"lab.nmae: there is no such key; did you mean lab.name\?"),
        (["optimizer=adam"], r"optimizer=adam: the lab compares five optimizers; .*"),
        (["optimizer.momentum=0.5"], r"optimizer=adagrad: .*'optimizer.momentum'.*"),
        (["-m"], r"-m: this program does not sweep; leave it out"),
        (["lab.seeds=0"], r"lab.seeds=0: give an integer of at least 1"),
        (["lab.budget_min=0"], r"lab.budget_min=0: give a number above 0 or null"),
        (
            ["data=synthetic", "lab.budget_min=0.01"],
            r"lab.budget_min=0.01: too small for 6 trainings here, .*",
        ),
        (["trainer.max_epochs=null"], r"trainer.max_epochs=None: the lab plans by it; .*"),
        (["data=image_folder", "data.root=no"], r"data.root=no: there is no such folder"),
        (["output_dir=/dev/null"], r"/dev/null.*: Not a directory"),
        (["+workers.rounds=0"], r"workers.rounds=0: give an integer of at least 1"),
    ],
)
def test_wrong_input_is_one_line(
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    """Exit code 2, no part was started, nothing is left behind."""
    assert run(monkeypatch, *words) == 2
    assert re.fullmatch(f"error: {message}\n", capfd.readouterr().err)
    assert [name for name in parts.started if not name.startswith("pilot")] == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list(tmp_path.glob("outputs/labs/*/*"))


def test_the_program_is_started_by_its_name(tmp_path: Path) -> None:
    """As a person starts it; a wrong part is told at once, nothing heavy is imported."""
    command = [sys.executable, "-X", "importtime", "-m", "hpml.lab", "lab.parts=[c9]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    *imported, last = done.stderr.splitlines()
    assert last.startswith("error: lab.parts=[c9]: give some of c1, c2, ")
    names = {line.rpartition("|")[2].strip() for line in imported}
    assert "hydra" in names
    assert not names & {"torch", "lightning", "numpy", "matplotlib"}


def test_the_whole_chain(parts: Parts, start: Start, tmp_path: Path) -> None:
    """Each part once, fed by those before; then there is nothing left to do but the report."""
    assert start() == 0
    assert parts.started == [
        "pilot cpu",
        *("summary-sgd", "summary-no_norm_sgd", "summary-no_norm_adam"),
        *("workers", "diagnosis", "training", "no_norm"),
    ]
    optimizers = ("sgd", "nesterov", "adagrad", "adadelta", "adam", "sgd")
    assert parts.trained == [f"{name} on cpu, 2, None" for name in optimizers]
    assert parts.commands["diagnosis"]["diagnose.against"] == "data.num_workers=2"
    folder = tmp_path / "outputs" / "labs" / "l"
    report = folder / "report.md"
    assert report.read_text().count("No figures yet") == 0
    before = report.stat().st_mtime_ns
    assert start() == 0
    assert parts.started == []
    assert report.stat().st_mtime_ns > before
    known = json.loads((folder / "amd-epyc-2-cores" / "lab.json").read_text())
    assert all(len(commands) == 1 for commands in known["commands"].values())


def test_a_dry_run_says_and_does_nothing(
    parts: Parts, start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Parts, jobs, minutes, disk."""
    assert start("lab.dry_run=true", "lab.seeds=2") == 0
    told = capfd.readouterr().out
    assert "12 trainings of 5 epochs of 100 batches" in told
    assert re.search(r"about .* in all \(.* to .*\), 4.8 MB of disk", told)
    assert parts.started == ["pilot cpu"]
    assert not list(tmp_path.glob("outputs/labs/*"))


def test_what_is_there_is_joined(parts: Parts, start: Start, tmp_path: Path) -> None:
    """The same name with other parts, seeds, or in another order of the command line."""
    words = ["data.batch_size=64", "model.init=torch", "lab.seeds=1"]
    assert start(*words, "lab.parts=[c3]") == 0
    assert parts.started == ["pilot cpu", "workers"]
    assert start(*reversed(words), "lab.parts=[c1]") == 0
    assert parts.started == ["training"]
    assert parts.trained == ["sgd on cpu, 2, None"]
    assert start("data.batch_size=64", "lab.parts=[c6,c2]", "lab.seeds=2") == 0  # torch: default
    assert len(parts.trained) == 9
    (known,) = tmp_path.glob("outputs/labs/l/*/lab.json")
    assert len(json.loads(known.read_text())["commands"]["training"]) == 2
    assert start(*words, "lab.parts=[c1,c3,c6]") == 0
    assert parts.started == []


def test_other_settings_need_another_name(
    parts: Parts, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is named, before anything is measured."""
    assert start("lab.parts=[c3]") == 0
    capfd.readouterr()
    assert start("lab.parts=[c1]", "data.batch_size=64") == 2
    expected = "error: lab.name=l: was begun here with data.batch_size=128 (now 64); give another "
    assert capfd.readouterr().err == f"{expected}name\n"
    assert parts.started == []


def test_another_machine_joins(parts: Parts, start: Start, tmp_path: Path) -> None:
    """It searches for itself, and stands in the same report."""
    assert start("lab.parts=[c3,c5]") == 0
    parts.environment = HERE | {"cpu": "Xeon", "accelerators": ["H100", "H100"]}
    lab.environment.probe_devices = lambda: {"gpu": 2}  # type: ignore[assignment]
    assert start("lab.parts=[c3,c5]") == 0
    assert parts.started == ["pilot gpu", "pilot cpu", "workers", "training", "devices"]
    assert parts.trained == ["sgd on gpu, 2, None", "sgd on cpu, 2, None"]
    report = (tmp_path / "outputs" / "labs" / "l" / "report.md").read_text()
    assert "AMD EPYC, 2 cores: By loading alone" in report
    assert "Xeon, 2 cores, H100: By loading alone" in report


def test_a_budget_is_kept_and_told(
    parts: Parts, start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Trainings that are added later are as long as those before, whatever the budget is then."""
    parts.step_s = 1.0
    assert start("lab.parts=[c1]", "lab.budget_min=2") == 0
    (one,) = parts.trained
    limit = int(one.rpartition(" ")[2])
    assert 15 < limit < 23
    assert "shortened" in (tmp_path / "outputs" / "labs" / "l" / "report.md").read_text()
    capfd.readouterr()
    for words in (["lab.budget_min=1"], []):
        assert start("lab.parts=[c6]", *words, f"lab.seeds={1 + len(words)}") == 0
        assert all(each.endswith(f", {limit}") for each in parts.trained)
        told = "trainings stay as long as those that are there, whatever lab.budget_min is\n"
        assert (told in capfd.readouterr().out) == bool(words)
    assert (
        "Fitted into 2 minutes" in (tmp_path / "outputs" / "labs" / "l" / "report.md").read_text()
    )


def test_a_budget_for_another_part_decides_nothing(parts: Parts, start: Start) -> None:
    """Where no training has begun, its length is still open."""
    assert start("lab.parts=[q1,c3]", "lab.budget_min=30") == 0
    parts.ends["training"] = UserError("c1 could not begin")
    assert start("lab.parts=[c1]") == 2  # decided, but not begun
    parts.ends.clear()
    assert start("lab.parts=[c1]", "lab.budget_min=0.12") == 0
    assert not parts.trained[0].endswith("None")


def test_trainings_keep_the_number_of_workers_that_they_began_with(
    parts: Parts, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else they could not be compared; it is told."""
    assert start("lab.parts=[c1]") == 0
    assert start("lab.parts=[c3,c7]") == 0
    assert parts.started == ["workers", "no_norm"]
    assert parts.trained == ["sgd on cpu, 0, None"]
    assert start("lab.parts=[c6]") == 0
    assert "trainings stay with data.num_workers=0, as those before" in capfd.readouterr().out
    assert {each.split(", ")[1] for each in parts.trained} == {"0"}


def test_a_part_that_fails_does_not_stop_the_others(
    parts: Parts, start: Start, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1, a report without it, and it is run again by the same command."""
    parts.ends = {"diagnosis": False, "summary-sgd": False}
    assert start() == 1
    assert capfd.readouterr().err == "failed: summary-sgd, diagnosis\n"
    assert len(parts.trained) == 6
    report = (tmp_path / "outputs" / "labs" / "l" / "report.md").read_text()
    assert report.count("No figures yet") == 3  # C4, Q1, Q2
    parts.ends.clear()
    assert start() == 0
    assert parts.started == ["summary-sgd", "diagnosis"]


def test_nothing_trains_without_the_number_of_workers(
    parts: Parts, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """That was asked for."""
    parts.ends = {"workers": False}
    assert start("lab.parts=[c1,c3,c4]") == 1
    assert parts.started == ["pilot cpu", "workers"]
    assert "failed: workers, so no training" in capfd.readouterr().err
    parts.ends.clear()
    assert start("lab.parts=[c1,c3,c4]") == 0
    assert parts.trained == ["sgd on cpu, 2, None"]


def test_a_part_that_finds_its_input_wrong(
    parts: Parts, start: Start, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ends the lab, with a report on what there is."""
    parts.ends = {"diagnosis": UserError("c4 could not begin: no")}
    assert start() == 2
    assert capfd.readouterr().err == "error: c4 could not begin: no\n"
    assert "So use data.num" in (tmp_path / "outputs" / "labs" / "l" / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lab_has_a_report(
    parts: Parts, start: Start, capfd: pytest.CaptureFixture[str], tmp_path: Path, number: int
) -> None:
    """130 or 143; it goes on where it was."""
    parts.ends = {"diagnosis": RunInterrupted(number)}
    assert start("lab.parts=[c3,c4]") == 128 + number
    assert capfd.readouterr().err == "interrupted; the same command goes on from here\n"
    assert (tmp_path / "outputs" / "labs" / "l" / "report.html").exists()
    parts.ends.clear()
    assert start("lab.parts=[c3,c4]") == 0
    assert parts.started == ["diagnosis"]


def test_half_a_result_is_none(parts: Parts, start: Start, tmp_path: Path) -> None:
    """Whoever wrote it was killed meanwhile."""
    assert start("lab.parts=[c3,c4,q1]") == 0
    for name in ("workers/workers.json", "diagnosis/diagnosis.json", "summary/sgd.json"):
        (file,) = tmp_path.glob(f"outputs/labs/l/*/{name}")
        file.write_text(file.read_text()[:-2])
    assert start("lab.parts=[c3,c4,q1]") == 0
    assert parts.started == ["summary-sgd", "workers", "diagnosis"]


def test_a_damaged_state_is_told(
    parts: Parts, start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without it nobody knows how long the trainings are; the lab itself writes it whole."""
    assert start("lab.parts=[c1]") == 0
    (file,) = tmp_path.glob("outputs/labs/l/*/lab.json")
    file.write_text(file.read_text()[:100])
    capfd.readouterr()
    assert start("lab.parts=[c1]") == 2
    assert re.fullmatch(
        r"error: .*lab.json: cannot be read; give another lab.name\n", capfd.readouterr().err
    )


def test_one_lab_at_a_time(
    parts: Parts, start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Told before it measures, which would disturb the other one."""
    folder = tmp_path / "outputs" / "labs" / "l" / "amd-epyc-2-cores"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert start() == 2
    assert "error: lab.name=l: another lab is at work in " in capfd.readouterr().err
    assert parts.started == []
    assert start("lab.parts=[c3]") == 0


def test_a_full_disk_is_one_line(
    parts: Parts,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever could not be written."""

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hpml.lab.state.write_whole", full)
    assert start() == 2
    told = capfd.readouterr()
    assert re.fullmatch(r"error: /.*: No space left on device\n", told.err)
    assert "Traceback" not in told.out


def test_a_command_that_keeps_its_output(tmp_path: Path) -> None:
    """Whole, or not at all; it ends with the lab, whose end its standard input tells."""
    file = tmp_path / "summary" / "a.json"
    for code, expected in (("print(1)", True), ("print(2); exit(1)", False)):
        task = Task("summary", ("q1",), ("-c", code), file, (), file)
        assert lab._print_to(file, task, tmp_path) == expected
        assert file.read_text() == "1\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("print('fine')", True), ("raise SystemExit(1)", False)],
)
def test_a_command_that_ends(tmp_path: Path, code: str, expected: bool) -> None:
    """Its exit code tells whether it completed; its output is kept."""
    assert lab._run(Task("t", ("c1",), ("-c", code), None), tmp_path) == expected
    assert (tmp_path / "logs" / "t" / "output.log").exists()


def test_a_command_that_is_refused(tmp_path: Path) -> None:
    """Its last line is the lab's."""
    code = "import sys; print('much'); print('error: it is so', file=sys.stderr); sys.exit(2)"
    with pytest.raises(UserError, match=r"^c1, c2 could not begin: it is so$"):
        lab._run(Task("t", ("c1", "c2"), ("-c", code), None), tmp_path)


def test_a_command_has_the_users_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Hydra runs, HYDRA_FULL_ERROR is ours: wrong input would have a traceback in a part."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code = "import os; print(os.environ['HYDRA_FULL_ERROR'])"
    file = tmp_path / "printed"
    assert lab._run(Task("t", ("c1",), ("-c", code), None), tmp_path)
    assert lab._run(Task("u", ("q1",), ("-c", code), file, (), file), tmp_path)
    assert (tmp_path / "logs" / "t" / "output.log").read_text() == file.read_text() == "0\n"


def test_a_command_that_was_killed_by_a_signal_of_ours(tmp_path: Path) -> None:
    """Is as if the signal had come to the lab."""
    code = "import os, signal; signal.signal(15, signal.SIG_DFL); os.kill(os.getpid(), 15)"
    with pytest.raises(RunInterrupted):
        lab._run(Task("t", ("c1",), ("-c", code), None), tmp_path)


def test_a_search_made_before_is_taken_over(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, start: Start, tmp_path: Path
) -> None:
    """By `hpml.workers`, for this very job; another batch size is searched for by itself."""
    assert start("lab.parts=[c3]") == 0
    found = json.loads(next(tmp_path.glob("outputs/labs/l/*/workers/workers.json")).read_text())
    settings = json.loads(next(tmp_path.glob("outputs/labs/l/*/lab.json")).read_text())["settings"]
    before = tmp_path / "outputs" / "workers" / "2026-01-01" / "10-00-00" / "workers.json"
    before.parent.mkdir(parents=True)
    more = {"job": searched(settings), "environment": HERE, "command": "the earlier command"}
    more |= {"search": {"rounds": 5, "most": None}}
    before.write_text(json.dumps(found | more))
    assert start("lab.parts=[c3]", "lab.name=m") == 0
    assert "workers" not in parts.started
    page = (tmp_path / "outputs" / "labs" / "m" / "report.md").read_text()
    assert "the earlier command" in page
    assert start("lab.parts=[c3]", "lab.name=n", "data.batch_size=16") == 0
    assert "workers" in parts.started
