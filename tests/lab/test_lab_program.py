"""The program `python -m hpml.lab`: what it refuses, what it runs, what it does not run again."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from filelock import FileLock
from helpers.lab_parts import HERE, RESULTS, Parts
from helpers.labs import FACTS, keep
from helpers.records import make_run

from hpml.config.lab_advice import LAB
from hpml.errors import RunFailedError, UserError
from hpml.lab import __main__ as lab
from hpml.lab.run_task import run_task
from hpml.lab.tasks import Task
from hpml.system import fresh_process
from hpml.system.signals import RunInterrupted
from hpml.worker_counts.command import searched

Capture = pytest.CaptureFixture[str]
SUMMARIES = [f"summary-{name}" for name in ("sgd", "adam", "no_norm_sgd", "no_norm_adam")]
RESUMES = "interrupted; the same command resumes from here"


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
        (["evaluate=a.ckpt"], r"evaluate=a.ckpt: the lab trains; leave it out"),
        (["resume=a.ckpt"], r"resume=a.ckpt: the lab has several trainings; leave it out"),
        (["data.val_split=0.1"], r"data.val_split=0.1: the lab's trainings have no validation; .*"),
        (["monitor=val/accuracy"], r"monitor=val/accuracy: the lab's trainings have no .*"),
        (
            ["monitor=val/loss", "trainer.limit_val_batches=0"],
            r"monitor=val/loss: the lab's trainings have no validation; .*",
        ),
        (["lab=quick"], r"lab=quick: give one of its keys: lab.name, lab.parts, .*, lab.dry_run"),
        (["hydra.mode=multirun"], r"hydra.mode=multirun: this program does not sweep; .*"),
        (["optimizer.momentum=0.5"], r"optimizer=adagrad: optimizer.momentum: there is no .*"),
        (["-m"], r"-m: this program does not sweep; leave it out"),
        (["lab.seeds=0"], r"lab.seeds=0: give an integer of at least 1 and at most 1000"),
        (["lab.seeds=1000000000"], r"lab.seeds=1000000000: give an integer of at least 1 and .*"),
        (["lab.seeds=0,1"], r"lab.seeds=0,1: give one value; a list has brackets"),
        (["model=[small,resnet18]"], r"model=\[small,resnet18\]: give one"),
        (["lab.budget_min=0"], r"lab.budget_min=0: give a number above 0 or null"),
        (
            ["data=synthetic", "lab.budget_min=0.01"],
            r".*=0.01: too small for any of these parts; give at least 1 for one .*, \d+ for all",
        ),
        (["trainer.max_epochs=null"], r"trainer.max_epochs=None: the lab plans by it; .*"),
        (["data=image_folder", "data.root=no"], r"data.root=no: there is no such folder"),
        (["output_dir=/dev/null"], r"/dev/null.*: Not a directory"),
        (["hydra.run.dir=/dev/null"], r"hydra.run.dir: /dev/null: is a file; give another place"),
        (["sweep.parallel=gpus"], r"sweep.parallel=gpus: the lab times its trainings one by .*"),
        (["sweep.dry_run=true"], r"sweep.dry_run=true: the lab has lab.dry_run; leave it out"),
        (["workers.budget_s=5"], r"workers.budget_s=5: is another .*; give \+workers.budget_s=5"),
        (["trainer.max_steps=3"], r"trainer.max_steps=3: the lab plans by trainer.max_epochs; .*"),
        (["trainer.fast_dev_run=true"], r"trainer.fast_dev_run=true: the lab plans by .*"),
        (["++trainer.max_time=00:00:01:00"], r"\+\+trainer.max_time=00:00:01:00: the lab plans .*"),
        (["+workers.rounds=0"], r"workers.rounds=0: give an integer of at least 1 or null"),
    ],
)
def test_refused(parts: Parts, capfd: Capture, tmp_path: Path, words: Any, message: str) -> None:
    """Exit code 2, no part was started, nothing is left behind."""
    assert parts.run_program(*words) == 2
    assert re.fullmatch(f"error: {message}\n", capfd.readouterr().err)
    assert all(name.startswith("pilot") for name in parts.started)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent.name == ".paces" for path in left)  # what was measured is kept
    if words != ["lab.name=.."] and not left:  # whose folder is no empty one
        assert not list(tmp_path.iterdir())


def test_the_program_is_started_by_its_name(tmp_path: Path) -> None:
    """As a person starts it; a wrong part is refused at once, nothing heavy is imported."""
    command = [sys.executable, "-X", "importtime", "-m", "hpml.lab", "lab.parts=[c9]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    *imported, last = done.stderr.splitlines()
    assert last.startswith("error: lab.parts=[c9]: give some of c1, c2, ")
    names = {line.rpartition("|")[2].strip() for line in imported}
    assert names & {"hydra", "torch", "lightning", "numpy", "matplotlib"} == {"hydra"}


def test_counting_needs_neither_data_nor_steps(parts: Parts) -> None:
    """Nor the data set that is not there; what is measured later comes on top."""
    absent = ["data=image_folder", "data.root=no", "lab.name=l"]
    assert parts.run_program(*absent, "lab.parts=[q1,q2]") == 0
    assert parts.started == SUMMARIES
    assert (parts.state["pilots"], parts.state["environment"]) == ({}, HERE)
    assert parts.run_program(*absent, "lab.parts=[q1,q2]", "lab.budget_min=1") == 0
    assert parts.started == []


def test_the_lab_works_where_its_command_was_typed(parts: Parts, capsys: Any) -> None:
    """Whatever Hydra is told: its commands and paths are the reader's, and its parts read there."""
    words = ["lab.parts=[q1]", "hydra.job.chdir=true", "data.root=images", "lab.dry_run=true"]
    assert parts.run_program("data=image_folder", "lab.name=l", *words) == 0
    assert "lab outputs/labs/l, on AMD EPYC" in capsys.readouterr().out
    assert parts.run_program("data=image_folder", "lab.name=l", *words[:3]) == 0
    assert "data=image_folder data.root=images optimizer=sgd summary.first_steps=4" in parts.report


def test_a_word_without_effect_is_told(parts: Parts, capfd: Capture) -> None:
    """By why it has none; where it counts nothing is said."""
    told = {
        ("lab.parts=[q1]", "lab.seeds=3"): "lab.seeds=3 has no effect: none of these parts trains",
        (
            "lab.parts=[c1]",
            "sweep.name=x",
        ): "sweep.name=x has no effect: lab.name names the folders",
        (
            "lab.parts=[c7,q1]",
            "model.norm=false",
        ): "c7 has no effect: the network has no model.norm that is true",
        ("data.num_workers=4",): "data.num_workers=4 has no effect: C3 finds the number of workers",
        ("lab.parts=[c1]", "lab.seeds=3", "data.num_workers=4"): "",
        # what is so anyway is not refused, however it is typed
        ("lab.parts=[c1]", "++trainer.max_steps=-1", "trainer.fast_dev_run=False"): "",
    }
    for words, sentence in told.items():
        assert parts.start("lab.dry_run=true", *words) == 0
        warned = [line for line in capfd.readouterr().out.splitlines() if "no effect" in line]
        assert warned == [f"warning: {sentence}"] * bool(sentence)


def test_the_whole_chain(parts: Parts) -> None:
    """Each part once, fed by those before; then there is nothing left to do but the report."""
    assert parts.start() == 0
    assert parts.started == [
        "pilot cpu",
        *SUMMARIES,
        *("workers", "diagnosis", "training", "no_norm"),
    ]
    optimizers = ("sgd", "nesterov", "adagrad", "adadelta", "adam", "sgd")
    assert parts.trained == [f"{name} on cpu, 2, None" for name in optimizers]
    assert parts.commands["diagnosis"]["diagnose.against"] == "data.num_workers=2"
    report = parts.lab / "report.md"
    assert parts.report.count("No figures yet") == 0
    before = report.stat().st_mtime_ns
    assert parts.start() == 0
    assert parts.started == []
    assert report.stat().st_mtime_ns > before
    assert parts.file("lab.json").parent.name == "amd-epyc-2-cores"
    assert all(len(commands) == 1 for commands in parts.state["commands"].values())


def test_a_dry_run_says_and_does_nothing(parts: Parts, tmp_path: Path, capfd: Capture) -> None:
    """Parts, jobs, minutes, disk."""
    assert parts.start("lab.dry_run=true", "lab.seeds=2") == 0
    printed = capfd.readouterr().out
    for number in (10, 2):  # of five optimizers, and of C7
        assert f" {number} trainings of 5 epochs of 100 batches" in printed
    assert re.search(r"about .* in all \(.* to .*\), 4.8 MB of disk", printed)
    assert parts.started == ["pilot cpu"]
    assert [path.name for path in tmp_path.glob("outputs/labs/*")] == [".paces"]


def test_what_is_there_is_joined(parts: Parts) -> None:
    """The same name with other parts, seeds, or in another order of the command line."""
    words = ["data.batch_size=64", "model.init=torch", "lab.seeds=1"]
    assert parts.start(*words, "lab.parts=[c3]") == 0
    assert parts.started == ["pilot cpu", "workers"]
    assert parts.start(*reversed(words), "lab.parts=[c1]") == 0
    assert (parts.started, parts.trained) == (["training"], ["sgd on cpu, 2, None"])
    again = words[:1]  # the others are defaults
    assert parts.start(*again, "lab.parts=[c6,c2]", "lab.seeds=2") == 0
    assert len(parts.trained) == 9
    assert len(parts.state["commands"]["training"]) == 2
    assert parts.start(*words, "lab.parts=[c1,c3,c6]") == 0
    assert parts.started == []


def test_another_machine_joins(parts: Parts) -> None:
    """It searches for itself, and stands in the same report."""
    assert parts.start("lab.parts=[c3,c5]") == 0
    parts.environment = HERE | {"cpu": "Xeon", "accelerators": ["H100", "H100"]}
    assert parts.start("lab.parts=[c3,c5]") == 0
    assert parts.started == ["pilot gpu", "pilot cpu", "workers", "training", "devices"]
    assert parts.trained == ["sgd on gpu, 2, None", "sgd on cpu, 2, None"]
    for machine in ("AMD EPYC, 2 cores", "Xeon, 2 cores, H100"):
        assert f"{machine}: By loading alone" in parts.report


def test_another_host_of_the_same_kind_is_told(parts: Parts, capfd: Capture) -> None:
    """Before it adds its times to a table, and on the page, which compares no times then.

    Resuming on the same host, or with nothing left to do, says nothing.
    """
    assert parts.start("lab.parts=[c1]") == 0
    assert parts.start("lab.parts=[c2,c7]") == 0
    assert "too, of the same kind" not in capfd.readouterr().out
    parts.environment = HERE | {"host": "b"}
    assert parts.start("lab.parts=[c1]") == 0
    assert "too, of the same kind" not in capfd.readouterr().out
    assert parts.start("lab.parts=[c6]") == 0
    warning = "warning: lab.name=l: was run on a too, of the same kind as b: a table that has times"
    assert warning in capfd.readouterr().out
    assert len(parts.trained) == 4
    report = words_of(parts.report)
    assert "They are not compared by time: they ran on 2 hosts of one kind, a, b." in report
    assert (
        "The runs are of 2 hosts of one kind, a, b: what these differ in is in the times" in report
    )
    assert "; hosts a, b\n" in report
    assert "Fastest" not in report
    assert parts.start("lab.parts=[c1,c2,c6,c7]", "lab.again=true") == 0
    assert "too, of the same kind" not in capfd.readouterr().out


def test_a_budget_is_kept_and_reported(parts: Parts, capfd: Capture) -> None:
    """Trainings that are added later are as long as those before, whatever the budget is then."""
    parts.step_s = 1.0
    assert parts.start("lab.parts=[c1]", "lab.budget_min=2") == 0
    (training,) = parts.trained
    limit = int(training.rpartition(" ")[2])
    assert 15 < limit < 23
    assert "shortened" in parts.report
    capfd.readouterr()
    whole = "python -m hpml.lab data=synthetic lab.seeds=2 lab.name=l-whole"
    for words in ([], ["lab.budget_min=40", "lab.seeds=2"]):
        assert parts.start("lab.parts=[c6]", *words) == 0
        assert parts.trained
        assert all(each.endswith(f", {limit}") for each in parts.trained)
        stays = f"trainings stay at epochs of {limit} of 100 batches, as those before; whole ones:"
        said = f"{stays} {whole if words else whole.replace(' lab.seeds=2', '')}\n"
        assert said in capfd.readouterr().out
    assert "Fitted into 2 minutes" in parts.report
    assert f"Whole epochs, without a budget: {whole}" in words_of(parts.report)
    assert parts.start("lab.parts=[c6]", "lab.seeds=3", "lab.budget_min=1") == 2
    assert "lab.budget_min=1: too small for c6; give at least" in capfd.readouterr().err


def test_a_budget_for_another_part_decides_nothing(parts: Parts) -> None:
    """Where no training has begun, its length is still open."""
    parts.step_s = 0.2
    assert parts.start("lab.parts=[q1,c3]", "lab.budget_min=30") == 0
    parts.ends["training"] = UserError("c1 could not begin")
    assert parts.start("lab.parts=[c1]") == 2  # decided, but not begun
    parts.ends.clear()
    assert parts.start("lab.parts=[c1]", "lab.budget_min=0.25") == 0
    assert not parts.trained[0].endswith("None")


def test_trainings_keep_the_number_of_workers(parts: Parts, capfd: Capture) -> None:
    """Else they could not be compared; it is reported."""
    assert parts.start("lab.parts=[c1]") == 0
    assert parts.start("lab.parts=[c3,c7]") == 0
    explained = ["summary-sgd", "summary-no_norm_sgd"]
    assert parts.started == [*explained, "workers", "no_norm"]
    assert parts.trained == ["sgd on cpu, 0, None"]
    assert parts.start("lab.parts=[c6]") == 0
    assert "trainings stay with data.num_workers=0, as those before" in capfd.readouterr().out
    assert {each.split(", ")[1] for each in parts.trained} == {"0"}


def test_a_part_that_fails_does_not_stop_the_others(parts: Parts, capfd: Capture) -> None:
    """Exit code 1, a report without it, and it is run again by the same command."""
    parts.ends = {"diagnosis": False, "summary-sgd": False}
    assert parts.start() == 1
    assert capfd.readouterr().err == "failed: summary-sgd, diagnosis\n"
    assert len(parts.trained) == 6
    assert parts.report.count("No figures yet") == 3  # C4, Q1, Q2
    parts.ends.clear()
    assert parts.start() == 0
    assert parts.started == ["summary-sgd", "diagnosis"]
    parts.ends = {"workers": False}  # without which nothing trains, where it was asked for
    words = ("lab.parts=[c1,c3,c4]", "lab.name=m")
    assert parts.start(*words) == 1
    assert parts.started == ["workers"]  # what was measured for another name holds for this one
    assert "failed: workers, so no training" in capfd.readouterr().err
    parts.ends.clear()
    assert parts.start(*words) == 0
    assert parts.trained == ["sgd on cpu, 2, None"]


@pytest.mark.parametrize(
    ("end", "code", "printed"),
    [
        (RunInterrupted(signal.SIGINT), 130, RESUMES),
        (RunInterrupted(signal.SIGTERM), 143, RESUMES),
        (UserError("c4 could not begin: no"), 2, "error: c4 could not begin: no"),
    ],
)
def test_ended_early(parts: Parts, capfd: Capture, end: Exception, code: int, printed: str) -> None:
    """On what there is; the same command resumes where it was."""
    parts.ends = {"diagnosis": end}
    assert parts.start("lab.parts=[c3,c4,c1]") == code
    assert capfd.readouterr().err == f"{printed}\n"
    assert "So use data.num" in (parts.lab / "report.html").read_text()
    parts.ends.clear()
    assert parts.start("lab.parts=[c3,c4,c1]") == 0
    assert parts.started == ["diagnosis", "training"]


def test_half_a_result_is_none(parts: Parts, capfd: Capture) -> None:
    """Whoever wrote it was killed; a damaged state is refused: it knows how long trainings are."""
    assert parts.start("lab.parts=[c3,c4,q1]") == 0
    for name in ("workers/workers.json", "diagnosis/diagnosis.json", "summary/sgd.json"):
        parts.file(name).write_text(parts.file(name).read_text()[:-2])
    assert parts.start("lab.parts=[c3,c4,q1]") == 0
    assert parts.started == ["summary-sgd", "workers", "diagnosis"]
    assert parts.start("lab.parts=[c1]") == 0
    parts.file("lab.json").write_text(parts.file("lab.json").read_text()[:100])
    capfd.readouterr()
    assert parts.start("lab.parts=[c1]") == 2
    error = r"error: .*lab.json: cannot be read; give another lab.name\n"
    assert re.fullmatch(error, capfd.readouterr().err)


def test_one_lab_at_a_time(parts: Parts, capfd: Capture) -> None:
    """Refused before it measures; as are other settings under the same name, with the key."""
    folder = parts.lab / "amd-epyc-2-cores"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert parts.start() == 2
    assert "error: lab.name=l: another lab is at work in " in capfd.readouterr().err
    assert parts.started == []
    assert parts.start("lab.parts=[c3]") == 0
    capfd.readouterr()
    assert parts.start("lab.parts=[c1]", "model=small") == 2
    words = "lab.name=l: was begun here with model=resnet18 (now small); give another name"
    assert capfd.readouterr().err == f"error: {words}\n"
    assert parts.start("lab.parts=[c1]", "data.batch_size=64") == 2
    begun = "lab.name=l: was begun here with data.batch_size=128 (now 64)"
    assert capfd.readouterr().err == f"error: {begun}; give another name\n"
    assert parts.started == []


def test_a_disk_that_is_full(parts: Parts, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    """Whatever could not be written."""
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("hpml.lab.state.write_json", full)
    assert parts.start() == 2
    printed = capfd.readouterr()
    assert re.fullmatch(r"error: /.*: No space left on device\n", printed.err)
    assert "Traceback" not in printed.out


def command(code: str) -> Task:
    """A task of some Python."""
    return Task("t", ("c1", "c2"), ("-c", code))


@pytest.mark.parametrize(("code", "expected"), [("print(1)", True), ("print(2); exit(1)", False)])
def test_a_command_that_ends(tmp_path: Path, code: str, expected: bool) -> None:
    """Its exit code says whether it completed; its output is kept in a log."""
    assert run_task(command(code), tmp_path) == expected
    assert (tmp_path / "logs" / "t" / "output.log").exists()


def test_a_command_that_ends_the_lab(tmp_path: Path) -> None:
    """Refused, its last line is the lab's; killed by a signal of ours, it is as if the lab was."""
    code = "import sys; print('much'); print('error: it is so', file=sys.stderr); sys.exit(2)"
    with pytest.raises(UserError, match=r"^c1, c2 could not begin: it is so$"):
        run_task(command(code), tmp_path)
    code = "import os, signal; signal.signal(15, signal.SIG_DFL); os.kill(os.getpid(), 15)"
    with pytest.raises(RunInterrupted):
        run_task(command(code), tmp_path)


def test_a_command_has_the_users_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Hydra runs, HYDRA_FULL_ERROR is ours: wrong input would have a traceback in a part.

    And one by which advice is in the lab's keys.
    """
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv(LAB, raising=False)
    code = f"import os; print(os.environ['HYDRA_FULL_ERROR'], '{LAB}' in os.environ)"
    assert run_task(command(code), tmp_path)
    assert (tmp_path / "logs" / "t" / "output.log").read_text() == "0 True\n"


def test_counting_is_what_its_command_prints(parts: Parts, capfd: Capture) -> None:
    """The very figures, without a process of its own; what it finds wrong is the lab's error."""
    parts.monkeypatch.setattr(lab, "run_task", run_task)
    ends = [FACTS, RunFailedError("it died"), FACTS, UserError("no such thing")]
    counts = Mock(side_effect=ends)
    parts.monkeypatch.setattr("hpml.lab.run_task.counts_of", counts)
    parts.call = lambda function, *given: HERE if function is not counts else counts(*given)  # type: ignore[method-assign]
    parts.monkeypatch.setattr(fresh_process, "run_in_fresh_process", parts.call)
    assert parts.start("lab.parts=[q1]") == 2
    assert capfd.readouterr().err == "it died\nerror: q1 could not begin: no such thing\n"
    assert json.loads(parts.file("summary/sgd.json").read_text()) == FACTS
    seen = [call.args[0] for call in counts.call_args_list]
    assert [(of["model"]["norm"], of["optimizer"]["_target_"]) for of in seen] == [
        (True, "torch.optim.SGD"),
        (True, "torch.optim.Adam"),
        (False, "torch.optim.SGD"),
        (False, "torch.optim.Adam"),
    ]
    assert {of["summary"]["batch_size"] for of in seen} == {8}


def test_a_search_made_before_is_taken_over(parts: Parts, tmp_path: Path) -> None:
    """By `hpml.workers`, for this very job; another batch size is searched for by itself."""
    assert parts.start("lab.parts=[c3]") == 0
    more = {"job": searched(parts.state["settings"]), "search": {"rounds": 5, "most": None}}
    more |= {"environment": HERE, "command": "the earlier command"}
    before = tmp_path / "outputs" / "workers" / "2026-01-01" / "10-00-00" / "workers.json"
    asks = ["Search again when it is quiet, or with workers.budget_s=90"]
    keep(before, RESULTS["workers"] | more | {"sentences": asks})
    assert parts.start("lab.parts=[c3]", "lab.name=m") == 0
    assert "workers" not in parts.started
    page = (parts.lab.parent / "m" / "report.md").read_text()
    assert "the earlier command" in page
    assert "or with +workers.budget" in page  # as a lab is asked
    for name, word in (("n", "data.batch_size=16"), ("o", "+workers.budget_s=9")):
        assert parts.start("lab.parts=[c3]", f"lab.name={name}", word) == 0
        assert "workers" in parts.started


def test_what_was_disturbed_is_run_again(parts: Parts, capfd: Capture) -> None:
    """By `lab.again`, and nothing else: of the trainings those, as long as the others."""
    assert parts.start("lab.parts=[c3,c4,c6]") == 0
    assert parts.start("lab.parts=[c3,c4,c6]", "lab.again=true") == 0
    assert parts.started == []  # all of it was quiet
    folder = parts.file("training")
    config = {"seed": 0, "device": "cpu", "monitor": "train/accuracy"}
    for name, lost_s in (("sgd", 0.0), ("adam", 1.5)):
        shutil.rmtree(folder / f"optimizer={name},seed=0,device=cpu")
        choices = {"optimizer": name, "model": "resnet18", "data": "synthetic"}
        disturbed = {"config": config, "choices": choices, "lost_s": lost_s}
        make_run(folder, f"optimizer={name},seed=0,device=cpu", **disturbed)
    evidence = {"kind": "disturbed", "evidence": "its trials waited up to 9 s of 10 s for a core"}
    diagnosis = {"data.num_workers=1": {"verdict": evidence, "rows": []}}
    keep(parts.file("diagnosis/diagnosis.json"), {"diagnoses": diagnosis, "comparison": []})
    assert parts.start("lab.parts=[c3,c4,c6]") == 0
    assert parts.started == []
    again = "run it again with `python -m hpml.lab data=synthetic lab.name=l 'lab.parts=[c4]' "
    assert f"its trials waited up to 9 s of 10 s for a core; {again}lab.again=true`" in words_of(
        parts.report
    )
    capfd.readouterr()
    assert parts.start("lab.parts=[c3,c4,c6]", "lab.again=true", "lab.dry_run=true") == 0
    assert "1 training of 5 epochs" in capfd.readouterr().out
    assert parts.start("lab.parts=[c4]", "lab.again=true") == 0
    assert parts.started == ["diagnosis"]
    assert parts.start("lab.parts=[c6]", "lab.again=true") == 0
    assert parts.trained == ["adam on cpu, 2, None"]
    assert parts.commands["training"]["sweep.on_disturbance"] == "rerun"  # which loses no run
    assert "too busy" not in parts.report


def words_of(markdown: str) -> str:
    """A report's text without its escapes."""
    return re.sub(r"\\(.)", r"\1", markdown)
