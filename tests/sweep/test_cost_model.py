from pathlib import Path
from typing import Any

import pytest
from helpers.records import HERE, make_run
from helpers.sweeps import make_job

from hpml.records.run_record import RunRecord
from hpml.sweep.cost_model import CostModel
from hpml.sweep.jobs import Job


def config(**changes: Any) -> dict[str, Any]:
    return {"data": {"batch_size": 8}, "model": {"x": 1}, "optimizer": {"lr": 1}} | changes


def seconds(cost_model: CostModel, job: Job) -> float:
    return (cost_model.of([job]) or ())[0]


def learned(folder: Path) -> CostModel:
    """What the runs below a folder tell."""
    cost_model = CostModel()
    cost_model.learn_from_earlier(folder)
    return cost_model


def test_earlier_runs_of_this_host_tell_how_long(tmp_path: Path) -> None:
    """By their epochs, and what came around them: here 2 and 3 seconds an epoch."""
    folder = tmp_path / "runs" / "day"
    make_run(folder, "x", config=config(), environment=HERE, epochs=2, epoch_s=2.0, wall_s=9.0)
    elsewhere = {"host": "elsewhere"}
    make_run(folder, "y", config=config(), environment=elsewhere, epoch_s=100.0, wall_s=1000.0)
    cost_model = learned(tmp_path)
    job = make_job(config(optimizer={"lr": 2}), epochs=4)
    # epochs of 3 and 2 seconds, 4 seconds around them
    assert seconds(cost_model, job) == pytest.approx(4 + 4 * 2.5)
    assert (cost_model.of([job] * 4, at_once=2) or ())[0] == pytest.approx(2 * 14)
    assert "and" in (cost_model.in_words([job]) or "")


def test_the_sweeps_own_jobs_tell_best(tmp_path: Path) -> None:
    """A repeat of a setting takes as long as the setting did; others about as long as any."""
    cost_model = CostModel()
    slow = make_job(config(), setting=("a",))
    fast = make_job(config(model={"x": 9}), setting=("b",))
    make_run(tmp_path, "x", config=config(), epochs=2, epoch_s=2.0, wall_s=9.0)
    record = RunRecord.read(tmp_path / "x")
    cost_model.learn(tmp_path / "x", record, slow, took_s=12.0)
    assert seconds(cost_model, slow) == 12.0
    assert seconds(cost_model, fast) == pytest.approx(12 - 5 + 3 * 2.5)


@pytest.mark.parametrize(
    ("changes", "of_job"),
    [
        # how long one that did not complete would have taken is not known
        *[(changes, {}) for changes in ({"status": "failed"}, {"epochs": 0}, {"wall_s": None})],
        # not alike: another network, other batches
        *[({}, of_job) for of_job in ({"model": {"x": 2}}, {"data": {"batch_size": 16}})],
    ],
)
def test_runs_that_tell_nothing(
    tmp_path: Path, changes: dict[str, Any], of_job: dict[str, Any]
) -> None:
    """Then nothing is claimed; a record that cannot be read is passed over."""
    folder, job = tmp_path / "runs" / "day", make_job(config(**of_job))
    make_run(folder, "x", config=config(), environment=HERE, **changes)
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text("{")
    assert learned(tmp_path).of([job]) is learned(tmp_path).in_words([job]) is None
