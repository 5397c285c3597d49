"""The program that finds the number of workers."""

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Convolutional, Images, Stream, trainer
from helpers.labs import keep
from helpers.programs import run_program
from helpers.snapshots import everything
from hydra import compose, initialize_config_dir
from torch.utils.data import DataLoader, get_worker_info

import hpml
from hpml.config.conf import find_conf
from hpml.errors import UserError
from hpml.system.environment import usable_cores
from hpml.worker_counts import measure
from hpml.worker_counts.command import found_before, job, searched
from hpml.worker_counts.measure import ConfiguredSearch

TINY = (
    *("experiment=demo", "device=cpu", "model.width=2", "logger=none"),
    *("data.train_samples=256", "data.test_samples=64", "data.batch_size=32"),
)


def test_it_measures_and_keeps_what_it_found(tmp_path: Path) -> None:
    """Each count; answers, override, file and picture; it does not sweep."""
    short = ("workers.rounds=1", "workers.seconds=0.1", "workers.most=1", "hydra.run.dir=found")
    also = "workers.also=[persistent_workers,threads]"
    done = run_program(["-m", "hpml.workers", *TINY, *short, also], tmp_path)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "found" / "workers.json").read_text())
    assert kept["settings"].keys() == {"0", "1"}
    assert all(times["epoch_s"]["mean"] > 0 for times in kept["settings"].values())
    assert done.stdout.splitlines()[-1] == f"keep: {kept['override']}"  # one round tells nothing
    assert "by loading alone" in done.stdout
    assert "end to end" in done.stdout
    assert (tmp_path / "found" / "workers.png").stat().st_size > 1000
    tried = {f"cpu.threads={count}" for count in (1, usable_cores())}
    if kept["recommended"]:
        tried |= {f"data.persistent_workers={value}" for value in ("true", "false")}
    else:
        assert "workers.also: keys of data have no effect without workers" in done.stdout
    assert kept["also"]["settings"].keys() == tried
    seen = kept["settings"]["0"]["rounds"]["0"]["interference"]
    assert seen["wall_s"] > 0
    done = run_program(["-m", "hpml.workers", "-m", "optimizer=sgd,adam"], tmp_path, exit_code=2)
    assert done.stdout == ""
    assert done.stderr == "error: -m: this program does not sweep; leave it out\n"


@pytest.fixture
def configured() -> Iterator[Any]:
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        yield lambda *words: compose("workers", [*TINY, *words])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("workers.budget_s=0", "workers.budget_s=0: give a number above 0"),
        (
            "workers.budget_s=0.01",
            "workers.budget_s=0.01: is too short to compare numbers of workers",
        ),
        ("workers.rounds=0", "workers.rounds=0: give an integer of at least 1 or null"),
        ("data.pipeline=device", "data.pipeline=device: loads nothing in workers"),
        ("workers.also=nope", "workers.also=nope: give some of persistent_workers"),
        ("workers.also=[nope]", "workers.also=nope: give some of persistent_workers"),
        ("~data.num_workers", "data.num_workers: the data module of data._target_ has no such"),
    ],
)
def test_wrong_input_is_one_line(word: str, message: str, configured: Any) -> None:
    """Before anything is measured."""
    with pytest.raises(UserError, match=re.escape(message)):
        job(configured(word))


def test_an_epoch_of_one_batch_is_refused(tmp_path: Path, configured: Any) -> None:
    """There is nothing that a worker could load ahead."""
    cfg = configured("data.train_samples=32", "data.test_samples=32", f"run_dir={tmp_path}")
    with pytest.raises(UserError, match="an epoch is a single batch: nothing is loaded ahead"):
        ConfiguredSearch(cfg, print)


def test_an_earlier_search_of_the_same_job_is_found(tmp_path: Path) -> None:
    """The last one on such a machine, whatever seed and length the training has."""
    here = {"cpu": "a", "cpu_cores": 2, "accelerators": [], "torch": "2", "hpml": "1"}
    asked = {"data.batch_size": 8, "seed": 0, "optimizer.lr": 0.1, "data.num_workers": 0}

    def kept(name: str, environment: dict[str, Any], **changes: Any) -> Path:
        file = tmp_path / "workers" / "2026-01-01" / name / "workers.json"
        search = {"rounds": 5, "most": None}
        keep(file, {"job": searched(asked | changes), "environment": environment, "search": search})
        return file

    assert found_before(tmp_path, asked, here) is None
    kept("10-00-00", here)
    last = kept("11-00-00", here | {"host": "b", "memory_gib": 3})
    kept("12-00-00", here | {"cpu_cores": 4})
    kept("13-00-00", here, **{"data.batch_size": 16})
    kept("14-00-00", here).write_text("{")
    interrupted = kept("15-00-00", here)
    interrupted.write_text(interrupted.read_text().replace("{", '{"interrupted": true, ', 1))
    others = {"seed": 7, "optimizer.lr": 0.2, "data.num_workers": 3, "trainer.max_epochs": 9}
    assert found_before(tmp_path, asked | others, here) == last


def test_workers_of_anybodys_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Python: the answer is what to write; the job is left as it was."""
    monkeypatch.setattr(measure, "ENDLESS", 1)
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    loader: Any = DataLoader(Images(64), 8)
    given = trainer(tmp_path), Convolutional(2), loader
    before = everything(given, tmp_path)
    found = hpml.workers(*given, most=1)
    gc.collect()
    after = everything(given, tmp_path)
    assert not {key for key, was in before.items() if was != after[key]}
    assert found.recommended == 0
    assert repr(found).splitlines()[-1] == "keep: num_workers=0"  # one round tells nothing
    assert [row[0] for row in found.rows] == ["0", "1"]
    assert "round 1: 1 worker: loading alone" in capsys.readouterr().out
    refused: dict[str, tuple[Any, dict[str, Any]]] = {
        "data: has 2 DataLoaders of torch's; workers are searched for one": (
            [loader, loader], {},
        ),
        "data: has 0 DataLoaders of torch's": (Batches(), {}),
        "most=-1: give a whole number of workers, or None": (loader, {"most": -1}),
        "most=True: give a whole number of workers, or None": (loader, {"most": True}),
        "budget_s=1: is too short to compare numbers of workers; give 5": (
            loader, {"budget_s": 1},
        ),
        "budget_s=True: give seconds, more than 0": (loader, {"budget_s": True}),
        "data: Stream is an IterableDataset, whose samples each worker may give again": (
            DataLoader(Stream(24), 8), {},
        ),
        "an epoch is a single batch": (DataLoader(Images(8), 8), {}),
    }  # fmt: skip
    for message, (data, more) in refused.items():
        module = TwoLoaders(2) if isinstance(data, list) and len(data) > 1 else given[1]
        with pytest.raises(UserError, match=re.escape(message)):
            hpml.workers(given[0], module, data, **more)
    with pytest.raises(UserError, match=r"give trainer, module, data, in this order$"):
        hpml.workers(*given[1::-1], loader)


class Full(Images):
    """Whose worker has no room for a batch."""

    def __getitem__(self, index: int) -> Any:
        if get_worker_info() is not None:
            raise RuntimeError("unable to write to file </torch_shm>: No space left on device (28)")
        return super().__getitem__(index)


def test_workers_that_fail_leave_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the numbers before, with what the worker's own error says."""
    monkeypatch.setattr(measure, "ENDLESS", 1)
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    found = hpml.workers(trainer(tmp_path), Convolutional(2), DataLoader(Full(64), 8))
    assert (found.recommended, [row[0] for row in found.rows]) == (0, ["0"])
    told = "1 worker failed: RuntimeError: unable to write to file </torch_shm>: No space left"
    assert any(sentence.startswith(told) for sentence in found.sentences)


class Batches:
    def __iter__(self) -> Any:
        return iter(DataLoader(Images(16), 8))

    def __len__(self) -> int:
        return 2


class TwoLoaders(Convolutional):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch[0], batch_idx)
