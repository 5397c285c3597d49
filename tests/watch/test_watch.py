"""`python -m hpml.watch`: the program is as it is without, and its fits are timed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import watched as scripts
from helpers.programs import run_program

from hpml.records.run_record import RunRecord

WATCH = ["-m", "hpml.watch"]


def both(
    folder: Path, text: str, exit_code: int, *words: str
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """A script run without and with the watch, each in a folder of its own."""
    done = []
    for name, ours in (("without", []), ("with", WATCH)):
        (folder / name).mkdir()
        (folder / name / "train.py").write_text(text)
        (folder / name / "cli.yaml").write_text(scripts.CLI_YAML)
        done.append(run_program([*ours, "train.py", *words], folder / name, exit_code))
    assert done[0].stdout == done[1].stdout
    return done[0], done[1]


def records(folder: Path) -> list[RunRecord]:
    found = sorted((folder / "with" / "outputs" / "watch").glob("train*"))
    return [RunRecord.read(each) for each in found]


def test_nothing_of_a_training_changes(tmp_path: Path) -> None:
    """Metrics, logs, checkpoints, callbacks and random numbers; table and record come on top."""
    without, watched = both(tmp_path, scripts.PLAIN, 0)
    assert "val_loss" in without.stdout
    (record,) = records(tmp_path)
    assert [epoch.samples for epoch in record.epochs] == [12, 12]
    assert record.status == "completed"
    assert "samples/s     loss val_loss" in watched.stderr
    *_, kept, last = watched.stderr.splitlines()
    assert kept == "record: outputs/watch/train/record.json"
    assert last.endswith("-m hpml.watch --diagnose train.py")


def test_a_failure_is_the_programs_own(tmp_path: Path) -> None:
    """The record says that it has failed, and keeps the epoch that was cut short."""
    _, watched = both(tmp_path, scripts.FAILS, 1)
    assert "RuntimeError: of the user's own" in watched.stderr
    assert "watch.py" not in watched.stderr
    (record,) = records(tmp_path)
    assert record.status == "failed"
    assert [epoch.steps for epoch in record.epochs] == [3, 1]


def test_an_interrupt_ends_it_as_without(tmp_path: Path) -> None:
    """With Lightning's exit code; the record says so."""
    both(tmp_path, scripts.INTERRUPTED, 1)
    (record,) = records(tmp_path)
    assert record.status == "interrupted"


def test_each_fit_has_a_record(tmp_path: Path) -> None:
    """Of one Trainer, also where its class has a fit of its own; the exit code is the script's."""
    both(tmp_path, scripts.TWICE, 3)
    assert [[epoch.epoch for epoch in each.epochs] for each in records(tmp_path)] == [[0], [1, 2]]


def test_a_cli_reads_its_arguments(tmp_path: Path) -> None:
    """LightningCLI, with a YAML; fit's signature is what it was."""
    both(tmp_path, scripts.CLI, 0, "fit", "--config", "cli.yaml")
    (record,) = records(tmp_path)
    assert [epoch.steps for epoch in record.epochs] == [4, 4]


@pytest.mark.stress
@pytest.mark.parametrize("launcher", [[], ["-m", "torch.distributed.run", "--nproc-per-node=2"]])
def test_all_ranks_are_watched(tmp_path: Path, launcher: list[str]) -> None:
    """Those that Lightning starts and those of torchrun: none waits for another for ever."""
    printed = []
    for name, ours in (("without", []), ("with", WATCH)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").write_text(scripts.PROCESSES)
        command = [sys.executable, *launcher, *ours, "train.py"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "timeout": 200, "check": True}
        printed.append(subprocess.run(command, cwd=tmp_path / name, **pipes).stdout)
    assert printed[0] == printed[1]
    assert b"ends" in printed[0]
    (record,) = records(tmp_path)
    assert [epoch.samples for epoch in record.epochs] == [12, 12]
    assert record.epochs[0].ranks


def test_a_fit_is_measured_instead(tmp_path: Path) -> None:
    """By short trials; then the script ends, with exit code 0, and what to run next is said."""
    (tmp_path / "my train.py").write_text(scripts.PLAIN)
    options = [*WATCH, "--diagnose", "--budget-s=0.5"]
    done = run_program([*options, "my train.py", "--rate", "1 2"], tmp_path)
    assert done.stdout == ""
    assert "with loading free" in done.stderr
    for name in ("diagnosis.json", "diagnosis.html"):
        assert (tmp_path / "outputs/watch/my train" / name).is_file()
    assert done.stderr.endswith("-m hpml.watch --tune 'my train.py' --rate '1 2'\n")


def test_tuning_needs_time(tmp_path: Path) -> None:
    """A budget that is too small for any comparison is refused in one line, before a fit."""
    (tmp_path / "train.py").write_text(scripts.PLAIN)
    done = run_program([*WATCH, "--tune", "--budget-s=1", "train.py"], tmp_path, 2)
    assert "error: budget_s=1: is too short to compare changes; give 20" in done.stderr


def test_what_tuning_may_take_and_resume_is_handed_on(tmp_path: Path) -> None:
    """A name that is none of its changes is told, with those there are; so is a file of none."""
    (tmp_path / "train.py").write_text(scripts.PLAIN)
    done = run_program([*WATCH, "--tune", "--also=no", "--also=nor", "train.py"], tmp_path, 2)
    assert "error: also: 'no' is no change of this job; there are " in done.stderr
    done = run_program([*WATCH, "--tune", "--resume=none.json", "train.py"], tmp_path, 2)
    assert "error: resume=none.json: is no search that can be resumed" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trainer(max_epochs=0).fit(Module(), loader())", "no epoch was trained"),
        ("trainer().validate(Module(), loader(), verbose=False)", "it called no Trainer.fit"),
        ("L.Trainer(fast_dev_run=True).fit(Module(), loader())", "hpml.watch --diagnose train.py"),
        ("L.Trainer(barebones=True, max_epochs=1).fit(Module(), loader())", "--diagnose train.py"),
        (
            "from hpml.callbacks import EpochTimer\n"
            "trainer(callbacks=[EpochTimer(say=len)]).fit(Module(), loader())",
            "left as it is, because its Trainer has timers of its own",
        ),
    ],
)
def test_what_could_not_be_timed_is_said(tmp_path: Path, line: str, said: str) -> None:
    """In one line at the end, and the exit code is the script's."""
    _, watched = both(tmp_path, f"{scripts.JOB}\n{line}\n", 0)
    assert f"{said}\n" in watched.stderr


def test_the_other_packages_trainer_is_timed(tmp_path: Path) -> None:
    """`pytorch_lightning`, which a function imports late."""
    text = scripts.JOB.replace("import lightning as L", "import pytorch_lightning as L")
    text = text.replace("lightning.pytorch.loggers", "pytorch_lightning.loggers")
    text = text.replace("return L.Trainer", "from pytorch_lightning import Trainer; return Trainer")
    both(tmp_path, f"{text}\ntrainer().fit(Module(), loader())\n", 0)
    (record,) = records(tmp_path)
    assert [epoch.samples for epoch in record.epochs] == [12, 12]


def test_an_interrupt_before_there_is_an_answer(tmp_path: Path) -> None:
    """One line, the exit code of Ctrl-C, and no traceback."""
    interrupted = "import torch\nclass Stops(torch.utils.data.Dataset):\n"
    interrupted += "    def __len__(self): return 8\n"
    interrupted += "    def __getitem__(self, index): raise KeyboardInterrupt\n"
    fit = "trainer().fit(Module(), torch.utils.data.DataLoader(Stops(), 2))"
    (tmp_path / "train.py").write_text(f"{scripts.JOB}\n{interrupted}{fit}")
    done = run_program([*WATCH, "--tune", "train.py"], tmp_path, 130)
    assert "interrupted: there is no answer yet\n" in done.stderr
    assert "Traceback" not in done.stderr
