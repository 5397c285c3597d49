"""What TensorBoard's servers list and show, started by the command that hpml prints."""

import time
from pathlib import Path

import pytest
from helpers.configurations import composed
from helpers.cut_short import OFTEN, STEPS, curves, killed_at, run, stop_at
from helpers.tensorboard import ask, served
from omegaconf import OmegaConf

from hpml.system.tensorboard import command
from hpml.train import train

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]

RUNS, OPEN_FILES = 1100, 1024
SHORTEST = (
    *("data=synthetic", "data.image_size=8", "data.train_samples=8", "data.test_samples=8"),
    *("data.batch_size=8", "model=small", "model.width=1", "trainer.max_epochs=1", "device=cpu"),
    *("callbacks=none", "logger=tensorboard"),
)
RELOADS_S = 20  # a server that cannot hold them loses runs at one of the first reloads


def test_a_sweep_of_1100_runs_is_listed_steadily(tmp_path: Path) -> None:
    """All of them at each reload, under the usual limit of open files, with their figures.

    They are trained one after the other in this process, for a batch each: some ten minutes. Half
    of them come while the server runs: one that falls back by itself when it cannot begin would
    pass otherwise.
    """
    sweep, later = tmp_path / "sweep", tmp_path / "later"
    cfg = composed(sweep, *SHORTEST)
    measured = {}
    for seed in range(RUNS):
        run_dir = sweep / f"seed={seed}"
        record = train(OmegaConf.merge(cfg, {"run_dir": str(run_dir), "seed": seed}))
        measured[seed] = record.last_metric("val/loss")
    shown = command(sweep, sweep)
    later.mkdir()
    for seed in range(1, RUNS, 2):
        (sweep / f"seed={seed}").rename(later / f"seed={seed}")
    with served(shown, tmp_path, OPEN_FILES) as address:
        until_listed(address, RUNS // 2)
        for run_directory in later.iterdir():
            run_directory.rename(sweep / run_directory.name)
        until_listed(address, RUNS)
        end_s = time.monotonic() + RELOADS_S
        while time.monotonic() < end_s:
            assert len(ask(address, "data/runs")) == RUNS
            time.sleep(0.2)
        for seed in (0, RUNS - 1):
            query = {"run": f"seed={seed}", "tag": "val/loss"}
            ((_, step, value),) = ask(address, "data/plugin/scalars/scalars", **query)
            assert (step, value) == (0, pytest.approx(measured[seed], rel=1e-6))


@pytest.mark.parametrize("more", ["", " --load_fast=false"])
@pytest.mark.parametrize("end", ["failure", "kill"])
def test_a_resumed_run_shows_each_step_once(end: str, more: str, tmp_path: Path) -> None:
    """With the values of a run that nothing stopped."""
    whole = curves(run(tmp_path / "whole", OFTEN))
    if end == "failure":
        resumed = run(tmp_path / "run", OFTEN, at_batch=stop_at(STEPS + 4))
    else:
        resumed = killed_at(STEPS + 4, tmp_path, OFTEN)
    run(resumed, OFTEN)
    with served(command(resumed, resumed) + more, tmp_path) as address:
        until_listed(address, 1)
        for tag in ("own/batch", "own/late", "val/loss", "train/accuracy", "lr"):
            points = ask(address, "data/plugin/scalars/scalars", run=".", tag=tag)
            assert [(step, value) for _, step, value in points] == whole[tag]
        for tag in ("time/epoch_s", "throughput/samples_per_s"):
            points = ask(address, "data/plugin/scalars/scalars", run=".", tag=tag)
            assert [step for _, step, _ in points] == [STEPS - 1, 2 * STEPS - 1]


def until_listed(address: str, runs: int) -> None:
    """Waits until the server has found them all, a minute at most."""
    for _ in range(300):
        if len(ask(address, "data/runs")) == runs:
            return
        time.sleep(0.2)
    pytest.fail(f"never listed {runs} runs")
