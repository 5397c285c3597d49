"""Runs killed at random moments resume, and end with the weights of one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.configurations import TESTS
from helpers.own import noted

from hpml.checkpointing.resume import resume_checkpoints
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


class Run:
    """One run's directory, and what its batches held."""

    def __init__(self, folder: Path, *words: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.words = words

    def start(self) -> subprocess.Popen[bytes]:
        own = "+callbacks.noting={_target_: helpers.own.Noting, file: batches.txt}"
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "hpml.train", *JOB, own, *self.words],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def complete(self) -> None:
        assert self.start().wait(timeout=120) == 0, (self.folder / "output.txt").read_text()

    def kill(self, after_s: float) -> bool:
        """Ends it so long after its first checkpoint; whether it was still at work."""
        process = self.start()
        until = time.monotonic() + 60
        while not resume_checkpoints(self.folder / "run") and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(after_s)
        at_work = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if at_work else None
        process.wait()
        return at_work

    @property
    def batches(self) -> dict[int, str]:
        return noted(self.folder / "batches.txt")

    @property
    def weights(self) -> dict[str, bytes]:
        file = self.folder / "run" / "checkpoints" / "last.ckpt"
        state = torch.load(file, weights_only=True)["state_dict"]
        return {name: value.numpy().tobytes() for name, value in state.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    """Its samples are those of the run that was left alone: none twice, none left out."""
    whole = Run(tmp_path / "whole", *SETTINGS[name])
    whole.complete()
    record = RunRecord.read(whole.folder / "run")
    draws = random.Random(name)
    kills = 0
    for number in range(4 * KILLS):
        run = Run(tmp_path / str(number), *SETTINGS[name])
        killed = run.kill(draws.uniform(0, 1.0))
        if killed and draws.random() < 0.3:
            killed = run.kill(draws.uniform(0, 0.5)) or killed
        kills += killed
        run.complete()
        assert run.weights == whole.weights
        assert run.batches == whole.batches
        resumed = RunRecord.read(run.folder / "run")
        assert [e.metrics for e in resumed.epochs] == [e.metrics for e in record.epochs]
        assert bool(resumed.resumed) or not killed
        assert resume_checkpoints(run.folder / "run") == []
        if kills == KILLS:
            break
    assert kills == KILLS
