"""What holds for every job in `jobs`: timed it trains as before, diagnosed it stays as it is."""

import dataclasses
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import ROOT, TESTS, slow, stress
from helpers.foreign import FOLDER, NAMES, Outcome, load, make, plain_and_timed
from helpers.programs import run_program
from helpers.snapshots import everything

from hpml.diagnosis import experiment
from hpml.errors import UserError
from hpml.records.phases import PHASES
from hpml.records.run_record import EpochRecord, RunRecord

PROCESSES = {name for name in NAMES if "PROCESSES = " in (FOLDER / f"{name}.py").read_text()}
QUICK = ("plain", "gan", "stream", "detection_lists", "accumulation", "no_validation")


def each(long: Collection[str], quick: Collection[str], without: Collection[str] = ()) -> Any:
    """Parametrises a test by the jobs: long ones run in the long suite, quick ones always."""
    kinds = dict.fromkeys(NAMES, slow) | dict.fromkeys(quick, pytest.param)
    kinds |= dict.fromkeys(long, stress)
    return pytest.mark.parametrize(
        "name", [kinds[name](name) for name in NAMES if name not in without]
    )


def in_a_process(name: str, folder: Path) -> tuple[Outcome, list[Outcome]]:
    """`plain_and_timed` for jobs that start more processes."""
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, TESTS)))}
    run_program([str(TESTS / "foreign/run_job.py"), name, str(folder)], folder, **variables)
    outcomes: tuple[Outcome, list[Outcome]] = pickle.loads((folder / "outcomes").read_bytes())
    return outcomes


def assert_adds_up(epoch: EpochRecord, samples: int | None) -> None:
    """An epoch whose figures are all known, but for samples that nobody sees."""
    times = [epoch.time[phase.key] for phase in PHASES]
    assert sum(times) == pytest.approx(epoch.time["epoch_s"], rel=1e-9)
    assert min(times) >= 0 < epoch.time["train_s"]
    assert epoch.samples == samples
    assert (epoch.samples_per_s is None) == (samples is None)
    assert epoch.steps > 0 < epoch.first_batch_s
    assert (epoch.step_ms is None) == (epoch.steps == 1)
    assert sum(epoch.train_split.values()) == pytest.approx(epoch.time["train_s"])
    assert sum(epoch.other_split.values()) == pytest.approx(epoch.time["other_s"])


def assert_whole(record: RunRecord, expected: Any) -> None:
    """The epochs that the job says it has, and a fit that is all accounted for."""
    numbers = [epoch.epoch for epoch in record.epochs]
    assert numbers == list(range(numbers[0], numbers[0] + len(expected.SAMPLES)))
    for epoch, samples in zip(record.epochs, expected.SAMPLES, strict=True):
        assert_adds_up(epoch, samples)
    assert record.status == "completed"
    assert record.verdict
    epochs_s = sum(epoch.time["epoch_s"] for epoch in record.epochs)
    parts_s = record.startup_s + epochs_s + record.finish_s
    assert parts_s == pytest.approx(record.wall_s, abs=1)


@each(long=PROCESSES | {"compiled"}, quick=QUICK)
def test_timers(name: str, tmp_path: Path) -> None:
    """Twice the same timers count and time all of it, and change nothing."""
    expected = load(name)
    plain, timed = (in_a_process if name in PROCESSES else plain_and_timed)(name, tmp_path)
    for outcome in timed:
        assert set(outcome.warned) <= set(plain.warned)
        assert dataclasses.replace(outcome, warned=plain.warned) == plain
    *_, first, second = sorted(tmp_path.glob("record*"), key=lambda path: (len(path.name), path))
    for record in (first, second):
        assert_whole(RunRecord.read(record), expected)


@each(
    long={"workers", "weights_averaged", "writes_into_a_dataclass"},
    quick=QUICK,
    without={"two_processes"},
)
def test_diagnosis(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds an epoch's time and leaves all as it was; or says in one line why it does not.

    Two processes begin their own script anew, which would be pytest: `test_ranks.py` has them.
    """
    monkeypatch.setattr(experiment, "ROUNDS", (1,))
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)
    expected = load(name)
    made = make(expected, tmp_path)
    before = everything(made, tmp_path)
    diagnose: Callable[[], Any] = lambda: experiment.diagnose(*made, 0.01, lambda line: None)  # noqa: E731
    if getattr(expected, "DIAGNOSABLE", True):
        assert diagnose().epoch_s("as_it_is").mean > 0
    else:
        with pytest.raises(UserError, match=r"\A.+\Z"):
            diagnose()
    gc.collect()
    after = everything(made, tmp_path)
    assert not {key: (was, after[key]) for key, was in before.items() if was != after[key]}


@pytest.mark.parametrize("name", [n if n == "plain" else stress(n) for n in NAMES])
def test_watch(name: str, tmp_path: Path) -> None:
    """The script as it stands ends well, and leaves a record of its last fit."""
    expected, environment = load(name), {**os.environ, "PYTHONPATH": str(ROOT)}
    # not `run_program`, whose processes have Lightning before the watch begins
    words = [sys.executable, "-m", "hpml.watch", str(FOLDER / f"{name}.py")]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=200)
    records = (tmp_path / "outputs").rglob("record.json")
    last = max(records, key=lambda file: file.stat().st_mtime_ns)
    assert_whole(RunRecord.read(last), expected)
