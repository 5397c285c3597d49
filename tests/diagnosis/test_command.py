"""`python -m hpml.diagnose` and `hpml.diagnose(…)` as a user calls them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import jobs
from helpers.configurations import TESTS
from helpers.programs import run_program
from hydra import compose, initialize_config_dir

import hpml
from hpml.cli import measuring
from hpml.config.conf import find_conf
from hpml.diagnosis import experiment, run
from hpml.errors import UserError
from hpml.system import other_programs

DEMO = (
    *("experiment=demo", "device=cpu", "data.train_samples=64", "data.test_samples=16"),
    *("data.batch_size=16", "data.image_size=8", "diagnose.budget_s=0.5"),
)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Any]:
    """Runs the program's job in this process."""

    def ran(*overrides: str) -> None:
        from hpml.diagnosis.command import job as of_config

        of_config(compose("diagnose", [*DEMO, f"run_dir={tmp_path}", *overrides]))

    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        yield ran


@pytest.mark.slow
def test_a_whole_run(tmp_path: Path) -> None:
    """Two settings side by side: tables, a comparison, a trace, and `diagnosis.json`."""
    against = "diagnose.against=data.batch_size=32"
    plain = ["callbacks=none", "logger=none", "trainer.profiler=pytorch"]
    done = run_program(["-m", "hpml.diagnose", *DEMO, against, *plain], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.count("as it is") == 2
    assert "data.batch_size=16\n" in done.stdout
    assert re.search(r"^data.batch_size=(16|32) ", done.stdout, re.MULTILINE)
    (file,) = tmp_path.rglob("diagnosis.json")
    assert f"kept: {file}\n" in done.stdout
    kept = json.loads(file.read_text())
    assert set(kept["diagnoses"]) == {"data.batch_size=16", "data.batch_size=32"}
    one, other = kept["diagnoses"].values()
    assert (one["epoch_steps"], other["epoch_steps"]) == (4, 2)
    assert one["verdict"]["basis"] == "intervention"
    assert one["epoch_s"]["as_it_is"]["mean"] > 0
    assert kept["comparison"]
    profile, *_ = re.findall("pytorch profile: (.*)\n", done.stdout)
    assert Path(profile).is_file()
    assert not [*tmp_path.rglob("*.ckpt"), *tmp_path.rglob("events.out*")]


WRONG = "diagnose.budget_s=0 diagnose.budget_s=soon diagnose.against=nope"
WRONG += " diagnose.against=optimizer=nope trainer.max_epochs=0 diagnose.against=trainer.devices=2"


@pytest.mark.parametrize("argument", WRONG.split())
def test_wrong_input_is_told(tmp_path: Path, argument: str) -> None:
    """One line, exit code 2, and no half of a diagnosis."""
    done = run_program(["-m", "hpml.diagnose", *DEMO, argument], tmp_path, exit_code=2)
    allowed = "give a number above 0" if "budget_s" in argument else ""
    assert re.fullmatch(f"error: {re.escape(argument)}: {allowed}.*\n", done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("diagnosis.json"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "diagnose.against='data.num_worker=4'",
            "data.num_worker: .* did you mean data.num_workers",
        ),
        ("diagnose.against='optimizer=nope'", "optimizer=nope: there is no such option; give one"),
        ("diagnose.against=4", "diagnose.against=4: 4: give KEY=VALUE"),
        ("diagnose.against='seed=1,2'", "seed=1,2: give one value; a list has brackets"),
        (
            "trainer.devices=2 trainer.strategy=ddp_spawn",
            "2 devices by DDPStrategy: trials of several run by DDP, each process from its own",
        ),
        ("trainer.max_steps=0", "trainer.max_steps=0"),
        ("run_dir=/dev/null", "/dev/null/diagnosis.json: Not a directory"),
    ],
)
def test_wrong_settings(job: Any, override: str, message: str) -> None:
    """Each in one line."""
    with pytest.raises(UserError, match=message):
        job(*override.split())


def test_a_data_set_of_one_batch(job: Any, tmp_path: Path) -> None:
    """It is diagnosed like any other."""
    job("data.train_samples=16")
    kept = json.loads((tmp_path / "diagnosis.json").read_text())
    (found,) = kept["diagnoses"].values()
    assert found["epoch_steps"] == 1
    assert found["epoch_s"]["loading_free"]["mean"] > 0
    assert kept["comparison"] == []


CALLING = """
from pathlib import Path
import hpml
from helpers import jobs
_, module, loader = jobs.accumulating(Path("unused"), 2)
try:
    hpml.diagnose(jobs.trainer(Path("unused"), max_epochs=0), module, loader)
except hpml.errors.UserError as error:
    print(error)
import hpml.diagnose
trainer = jobs.trainer(Path("unused"))
print(hpml.diagnose(trainer, module, loader, budget_s=0.01).epoch_steps)
"""


def test_it_warns_as_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of other programs that use the machine when it begins."""
    monkeypatch.setattr(other_programs.OtherPrograms, "__call__", lambda self: (4.0, 4))
    monkeypatch.setattr(other_programs, "LOOK_S", 0.0)
    _, module, loader = jobs.accumulating(tmp_path, 2)
    hpml.diagnose(jobs.trainer(tmp_path), module, loader, budget_s=0.01)
    assert "other programs use 4.0 of 4 cores: times will vary" in caplog.text


class BegunError(Exception):
    """The trials were to begin."""


def test_other_ranks_are_no_other_programs(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks for others knows what is the job's own; under torchrun too, once all have begun."""
    told: list[Any] = []
    witnesses: list[Any] = []

    def begun(experiments: Any) -> None:
        witnesses.extend(each.subject.witness for each in experiments)
        raise BegunError

    for module in (measuring, run, experiment):
        monkeypatch.setattr(module, "warn_of_others", lambda *witness: told.append([*witness]))
    monkeypatch.setattr(experiment, "run", begun)
    monkeypatch.setattr(run, "run_experiments", begun)
    _, module, loader = jobs.accumulating(tmp_path, 2)
    with pytest.raises(BegunError):
        hpml.diagnose(jobs.trainer(tmp_path), module, loader)
    assert told.pop() == witnesses
    for is_one in (True, False):
        monkeypatch.setattr(run.environment, "is_one_of_several", lambda is_one=is_one: is_one)
        witnesses.clear()
        with pytest.raises(BegunError):
            job()
        assert told.pop() == witnesses * is_one
    assert not told


def test_it_is_callable_before_and_after_the_import_of_its_module(tmp_path: Path) -> None:
    """`hpml.diagnose` is a function, whether or not somebody imports the command of that name."""
    script = tmp_path / "calling.py"
    script.write_text(CALLING)
    done = run_program([str(script)], tmp_path, PYTHONPATH=f"{TESTS}:{TESTS.parent}")
    assert done.returncode == 0, done.stderr
    first, *_, steps = done.stdout.splitlines()
    assert first.startswith("trainer.max_epochs=0: ")
    assert steps == "2"
    assert hpml.diagnose.__doc__
