"""Two processes that train together: killed and started again, they end as if they never were."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from helpers.configurations import TESTS
from helpers.own import noted

from hpml.checkpointing.resume import resume_checkpoints
from hpml.records.run_record import RunRecord

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]

JOB = ["data=synthetic", "model=small", "model.width=8", "data.train_samples=803", "device=cpu"]
JOB += ["data.test_samples=50", "data.batch_size=20", "trainer.max_epochs=9", "trainer.devices=2"]
JOB += ["trainer.strategy=ddp", "callbacks=none", "resume=auto", "checkpoint.every_s=0.05"]
JOB += ["hydra.run.dir=run", "data.num_workers=1", "data.pipeline=per_sample"]
NOTING = ["+callbacks.noting._target_=helpers.own.Noting"]
NOTING += ["+callbacks.noting.file='batches-${oc.env:LOCAL_RANK,0}.txt'"]
BY_ONE = [sys.executable, "-m", "hpml.train"]
BY_TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
BY_TORCHRUN += ["--max-restarts=3", "--standalone", "-m", "hpml.train"]


def start(folder: Path, program: list[str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, *JOB, *NOTING, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        stdout=(folder / "output.txt").open("a"),
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def complete(folder: Path, process: subprocess.Popen[str]) -> None:
    assert process.wait(timeout=300) == 0, (folder / "output.txt").read_text()[-4000:]


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not resume_checkpoints(folder / "run"):
        assert process.poll() is None, (folder / "output.txt").read_text()[-4000:]
        assert time.monotonic() < until
        time.sleep(0.01)


def batches(folder: Path, rank: int) -> dict[int, str]:
    return noted(folder / f"batches-{rank}.txt")


def weights(folder: Path) -> dict[str, bytes]:
    state = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    return {name: value.numpy().tobytes() for name, value in state["state_dict"].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    complete(folder, start(folder, BY_ONE))
    assert len(batches(folder, 0)) == 9 * 21
    return folder


def ended_as(whole: Path, folder: Path) -> None:
    for rank in (0, 1):
        assert batches(folder, rank) == batches(whole, rank)
    assert weights(folder) == weights(whole)
    record = RunRecord.read(folder / "run")
    assert record.status == "completed"
    assert record.resumed
    assert [epoch.samples for epoch in record.epochs] == [802] * 9


@pytest.mark.parametrize("number", range(3))
def test_both_killed(whole: Path, tmp_path: Path, number: int) -> None:
    """At any moment after the first checkpoint; the same batches, the same weights bit for bit."""
    process = start(tmp_path, BY_ONE)
    wait_for_checkpoint(tmp_path, process)
    time.sleep(random.Random(number).uniform(0, 3))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    complete(tmp_path, start(tmp_path, BY_ONE))
    ended_as(whole, tmp_path)


def test_one_killed_under_torchrun(whole: Path, tmp_path: Path) -> None:
    """torchrun starts both again, and they resume from their last checkpoint."""
    process = start(tmp_path, BY_TORCHRUN)
    wait_for_checkpoint(tmp_path, process)
    (rank,) = (
        child
        for child in psutil.Process(process.pid).children()
        if child.environ().get("RANK") == "1"
    )
    rank.kill()
    complete(tmp_path, process)
    ended_as(whole, tmp_path)


def test_a_full_disk_ends_both(tmp_path: Path) -> None:
    """No rank waits for the one that finds no room."""
    if os.geteuid():
        pytest.skip("only root may mount")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", tmp_path], check=True)
    try:
        process = start(tmp_path, BY_ONE)
        wait_for_checkpoint(tmp_path, process)
        with suppress(OSError), (tmp_path / "other").open("wb", buffering=0) as other:
            while other.write(b"0" * 4096):
                pass
        assert process.wait(timeout=90) == 1
        assert RunRecord.read(tmp_path / "run").status == "failed"
        time.sleep(20)  # for the other one to notice
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_short_epochs_have_checkpoints_too(tmp_path: Path) -> None:
    """The ranks agree after so many batches, be they of one epoch or of several."""
    process = start(tmp_path, BY_ONE, "data.train_samples=320", "trainer.max_epochs=400")
    wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_signal_to_one_of_them(whole: Path, tmp_path: Path) -> None:
    """Both keep a checkpoint and end; exit code 143."""
    process = start(tmp_path, BY_ONE)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert RunRecord.read(tmp_path / "run").status == "interrupted"
    complete(tmp_path, start(tmp_path, BY_ONE))
    ended_as(whole, tmp_path)
