"""The commands as functions: what they hand back, print, refuse, and leave as it was."""

import json
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
from helpers.configurations import QUICK
from helpers.own import OwnModule
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import hpml.train
from hpml.api import diagnose, report, summary, sweep, train, workers
from hpml.cli.from_python import as_node, first_of_each, printed
from hpml.config.conf import find_conf
from hpml.errors import RunFailedError, UserError
from hpml.records.run_record import RunRecord
from hpml.system.signals import RunInterrupted

SHORT = (*QUICK, "trainer.max_epochs=1", "logger=none")
WITHOUT_MODEL = [word for word in SHORT if not word.startswith("model")]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def state() -> list[Any]:
    """What a call has to leave as it was."""
    log = logging.getLogger("hpml")
    return [
        *(GlobalHydra.instance().is_initialized(), HydraConfig.instance().cfg, list(sys.path)),
        *(list(log.handlers), log.level, log.propagate, signal.getsignal(signal.SIGINT)),
    ]


def test_a_call_prints_and_returns_what_the_record_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two calls have a directory each, print each line once, and leave the process as it was."""
    before = state()
    first, second = train(*SHORT, "optimizer=adam"), train(*SHORT, "optimizer=adam")
    printed = capsys.readouterr().out
    assert state() == before
    assert first.directory != second.directory
    kept = RunRecord.read(first.directory)
    assert vars(kept) == vars(first)
    assert printed.count("optimizer=adam (lr 0.001)") == 2
    assert first.overrides == [*SHORT, "optimizer=adam"]
    words = ", ".join(f'"{word}"' for word in first.overrides)
    assert first.command == f"train({words})"
    assert first.directory.parent.parent == Path("outputs/runs")
    assert len(repr(first)) < 100


def test_a_class_is_trained_with_fresh_weights() -> None:
    """Its module and settings stand in the record, and two trainings are the same."""
    losses = [
        train(*WITHOUT_MODEL, model=partial(OwnModule, size=32)).epochs[-1].metrics
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert as_node("model", partial(OwnModule, size=8))["size"] == 8


@pytest.mark.parametrize(
    ("words", "objects", "message"),
    [
        (["optimizer=adma"], {}, "optimizer=adma: there is no such option; give one of adad"),
        (["optimizer.lrr=1"], {}, "optimizer.lrr: there is no such key; did you mean optimizer.lr"),
        (["-m"], {}, "-m: give KEY=VALUE, in one string; config_dir=… takes a folder"),
        (["seed"], {}, "seed: give KEY=VALUE"),
        (["optimizer=sgd,adam"], {}, r"optimizer=sgd,adam: train\(\) takes one value; sweep\("),
        (["data.batch_size=x"], {}, "data.batch_size=x: give an integer"),
        (["trainer.devices=2"], {}, "trainer.devices=2: train.* is one process; sweep"),
        (["optimizer=7"], {}, "optimizer=7: give the name of an option"),
        (["seed=${nothing}"], {}, "seed: Interpolation key 'nothing' not found"),
        ([], {"model": object()}, "model: is a object; give its class, or functools.partial"),
        (
            ["model.init=torch"],
            {"model": OwnModule},
            "model.init=torch: model=OwnModule is given too",
        ),
        ([], {"model": type("Inner", (), {"__qualname__": "f.<locals>.Inner"})}, "in a function"),
        ([], {"config_dir": "nowhere"}, "config_dir=nowhere: there is no such folder"),
        (
            ["model=small", "model._target_=mynet.Net"],
            {},
            "No module named 'mynet'.*; looked for in the working directory /.*put mynet.py there",
        ),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], objects: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """It names the key and what to do; nothing is left behind, no directory and no state."""
    before = state()
    with pytest.raises(UserError, match=message) as raised:
        train(*WITHOUT_MODEL, *words, **objects)
    assert "\n" not in str(raised.value)
    assert raised.value._render_traceback_() == [f"error: {raised.value}"]
    assert state() == before


def test_a_directory_is_not_written_over() -> None:
    """A second run in it is refused by the key that Python knows."""
    train(*SHORT, "run_dir=mine")
    with pytest.raises(UserError, match=r"holds a completed run: .*\(from Python: run_dir\)"):
        train(*SHORT, "run_dir=mine")


def test_a_composed_configuration_without_a_directory_gets_a_fresh_one(tmp_path: Path) -> None:
    """Two trainings of one configuration have a directory each."""
    with hydra.initialize_config_dir(str(find_conf()), version_base="1.3"):
        cfg = hydra.compose("train", list(SHORT))
    records = [hpml.train.train(cfg) for _ in range(2)]
    directories = [record.config["run_dir"] for record in records]
    assert len(set(directories)) == 2
    assert all(Path(each, "record.json").is_file() for each in directories)


def test_modules_beside_the_options_are_found(tmp_path: Path) -> None:
    """What an option of one's own names may lie in the folder of the options."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "flat.yaml").write_text("_target_: flatnet.Flat\n")
    (tmp_path / "mine" / "flatnet.py").write_text(
        "from torch import nn\n\n\n"
        "def Flat():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))\n"
    )
    record = train(*WITHOUT_MODEL, "model=flat", config_dir="mine")
    assert record.choices["model"] == "flat"
    assert record.status == "completed"


def test_an_interruption_is_recorded_and_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record says so, the command to resume is that call, and the next call trains."""
    import hpml.training.run

    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    before = state()
    with monkeypatch.context() as patched:
        patched.setattr(hpml.training.run, "run", interrupted)
        with pytest.raises(KeyboardInterrupt, match="interrupted") as raised:
            train(*SHORT, "run_dir=cut")
    assert not isinstance(raised.value, RunInterrupted)
    assert RunRecord.read(Path("cut")).status == "interrupted"
    assert "interrupted: record cut/record.json" in capsys.readouterr().err
    assert state() == before
    assert train(*SHORT).status == "completed"


def test_printing_is_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Within, each line is printed once, errors on stderr; then the log is as it was."""
    before, log = state(), logging.getLogger("hpml")
    with printed():
        log.info("usual")
        log.error("wrong")
    assert capsys.readouterr() == ("usual\n", "wrong\n")
    assert state() == before


def test_a_sweep_is_known_by_its_first_job() -> None:
    """Of words with several values the first one is taken; the others stay."""
    words = ["optimizer=adam,sgd", "seed=range(2,5)", "data.mean=[1,2]", "model=small"]
    first = ["optimizer=adam", "seed=2", "data.mean=[1,2]", "model=small"]
    assert first_of_each(words) == first


@pytest.mark.stress
def test_a_sweep_returns_its_report(capfd: pytest.CaptureFixture[str]) -> None:
    """Its records are those of its jobs, its page lies beside them."""
    found = sweep(*SHORT, "optimizer=sgd,adam")
    assert found is not None
    assert [record.choices["optimizer"] for record in found.records] == ["sgd", "adam"]
    assert found.failed == []
    assert found.path.is_file()
    again = report(found.folder)
    assert again.sentences == found.sentences
    assert str(again.path) in repr(again)


def test_a_sweep_that_cannot_begin_leaves_no_folder(capfd: pytest.CaptureFixture[str]) -> None:
    """A value that no job can have is refused in one line, which nothing tells besides."""
    with pytest.raises(UserError, match="optimizer=adma: there is no such option"):
        sweep(*SHORT, "optimizer=sgd,adma")
    assert "adma" not in "".join(capfd.readouterr())
    assert not list(Path("outputs").rglob("*"))


@pytest.mark.stress
def test_a_sweep_none_of_whose_jobs_completes_has_failed() -> None:
    """A loss that is not finite in each of them."""
    with pytest.raises(RunFailedError, match="no job of the sweep has completed"):
        sweep(*SHORT, "optimizer.lr=1e30,1e31", "trainer.max_epochs=3")


def test_a_report_needs_runs(tmp_path: Path) -> None:
    """A path that is not there, none at all, and one without records are refused."""
    for paths, message in (
        (["nowhere"], "nowhere: there is no such file or folder"),
        ([], "give the path of a run"),
        ([tmp_path], "no readable record.json under"),
    ):
        with pytest.raises(UserError, match=message):
            report(*paths)


@pytest.mark.stress
def test_workers_are_searched() -> None:
    """The answer is what the search has kept."""
    found = workers(*SHORT, "workers.rounds=1", "workers.seconds=0.05", "workers.most=0")
    kept = json.loads((found.directory / "workers.json").read_text())
    assert found.recommended == kept["recommended"] == 0
    assert found.sentences == kept["sentences"]


@pytest.mark.stress
def test_a_configured_job_is_diagnosed_and_counted() -> None:
    """In this process: the figures come back as objects."""
    found: Any = diagnose(*SHORT, "diagnose.budget_s=1", "trainer.max_epochs=1")
    assert "as it is" in str(found)
    assert summary("model=small", "model.width=4")["name"] == "small"
