"""Runs killed at random moments resume, and end with the weights of one that never was."""

import random
import time
from pathlib import Path

import pytest
from helpers.configurations import TESTS
from helpers.own import noted
from helpers.programs import Program
from helpers.trained import last_weights

from hpml.checkpointing.resume_choice import resume_checkpoints
from hpml.records.run_record import RunRecord

pytestmark = pytest.mark.stress

KILLS = 6  # of each setting
JOB = ["data=synthetic", "model=small", "model.width=8", "data.train_samples=1600"]
JOB += ["data.test_samples=200", "data.batch_size=40", "trainer.max_epochs=3", "resume=auto"]
JOB += ["device=cpu", "callbacks=none", "checkpoint.every_s=0.05", "hydra.run.dir=run"]
SETTINGS = {
    "per sample, two workers": ["data.pipeline=per_sample", "data.num_workers=2"],
    "batched, Adam, cosine": ["optimizer=adam", "scheduler=cosine"],
    "device, one cycle": ["data.pipeline=device", "optimizer=nesterov", "scheduler=one_cycle"],
    "accumulated": ["trainer.accumulate_grad_batches=3", "optimizer=adagrad"],
    "validated in between": ["trainer.val_check_interval=0.25", "optimizer=adadelta"],
}


def start(folder: Path, *words: str) -> Program:
    noting = "+callbacks.noting={_target_: helpers.own.Noting, file: batches.txt}"
    program = ["-m", "hpml.train", *JOB, noting, *words]
    return Program(program, folder, {"PYTHONPATH": str(TESTS)})


def complete(folder: Path, *words: str) -> tuple[dict[str, bytes], dict[int, str]]:
    """Runs to the end; the last weights, and what the batches held."""
    program = start(folder, *words)
    output = program.communicate(timeout=120)
    assert program.wait() == 0, output
    return last_weights(folder / "run"), noted(folder / "batches.txt")


def kill(folder: Path, after_s: float, *words: str) -> bool:
    """Ends a run so long after its first checkpoint; whether it was still at work."""
    program = start(folder, *words)
    until = time.monotonic() + 60
    while not resume_checkpoints(folder / "run") and program.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(after_s)
    at_work = program.poll() is None
    if at_work:
        program.kill()
    program.wait()
    return at_work


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    """Its samples are those of the run that was left alone: none twice, none left out."""
    words = SETTINGS[name]
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = complete(whole, *words)
    record = RunRecord.read(whole / "run")
    draws = random.Random(name)
    kills = 0
    for number in range(4 * KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed = kill(folder, draws.uniform(0, 1.0), *words)
        if killed and draws.random() < 0.3:
            killed = kill(folder, draws.uniform(0, 0.5), *words) or killed
        kills += killed
        assert complete(folder, *words) == expected
        resumed = RunRecord.read(folder / "run")
        assert [e.metrics for e in resumed.epochs] == [e.metrics for e in record.epochs]
        assert bool(resumed.resumed) or not killed
        assert resume_checkpoints(folder / "run") == []
        if kills == KILLS:
            break
    assert kills == KILLS
