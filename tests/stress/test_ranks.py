"""Two processes that train together: killed and started again, they end as if they never were."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from helpers.configurations import TESTS
from helpers.disks import fill, mounted
from helpers.own import noted
from helpers.programs import Program
from helpers.trained import last_weights

from hpml.checkpointing.resume_choice import resume_checkpoints
from hpml.records.run_record import RunRecord

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]

JOB = ["data=synthetic", "model=small", "model.width=8", "data.train_samples=803", "device=cpu"]
JOB += ["data.test_samples=50", "data.batch_size=20", "trainer.max_epochs=9", "trainer.devices=2"]
JOB += ["trainer.strategy=ddp", "callbacks=none", "resume=auto", "checkpoint.every_s=0.05"]
JOB += ["hydra.run.dir=run", "data.num_workers=1", "data.pipeline=per_sample"]
NOTING = ["+callbacks.noting._target_=helpers.own.Noting"]
NOTING += ["+callbacks.noting.file='batches-${oc.env:LOCAL_RANK,0}.txt'"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=3", "--standalone"]


def start(folder: Path, *words: str, by: Sequence[str] = ()) -> Program:
    program = [*by, "-m", "hpml.train", *JOB, *NOTING, *words]
    return Program(program, folder, {"PYTHONPATH": str(TESTS)})


def start_until_checkpoint(folder: Path, *words: str, by: Sequence[str] = ()) -> Program:
    process = start(folder, *words, by=by)
    process.wait_for(lambda: resume_checkpoints(folder / "run"))
    return process


def complete(process: Program) -> None:
    output = process.communicate(timeout=300)
    assert process.wait() == 0, output


def batches(folder: Path, rank: int) -> dict[int, str]:
    return noted(folder / f"batches-{rank}.txt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    complete(start(folder))
    assert len(batches(folder, 0)) == 9 * 21
    return folder


def ended_as(whole: Path, folder: Path) -> None:
    for rank in (0, 1):
        assert batches(folder, rank) == batches(whole, rank)
    assert last_weights(folder / "run") == last_weights(whole / "run")
    record = RunRecord.read(folder / "run")
    assert record.status == "completed"
    assert record.resumed
    assert [epoch.samples for epoch in record.epochs] == [802] * 9


@pytest.mark.parametrize("number", range(3))
def test_both_killed(whole: Path, tmp_path: Path, number: int) -> None:
    """At any moment after the first checkpoint; the same batches, the same weights bit for bit."""
    process = start_until_checkpoint(tmp_path)
    time.sleep(random.Random(number).uniform(0, 3))
    process.kill()
    process.wait()
    complete(start(tmp_path))
    ended_as(whole, tmp_path)


def test_one_killed_under_torchrun(whole: Path, tmp_path: Path) -> None:
    """torchrun starts both again, and they resume from their last checkpoint."""
    process = start_until_checkpoint(tmp_path, by=TORCHRUN)
    children = psutil.Process(process.pid).children()
    (rank,) = (child for child in children if child.environ().get("RANK") == "1")
    rank.kill()
    complete(process)
    ended_as(whole, tmp_path)


def test_a_full_disk_ends_both(tmp_path: Path) -> None:
    """No rank waits for the one that finds no room."""
    with mounted(tmp_path / "disk", "size=6m") as folder:
        process = start_until_checkpoint(folder)
        fill(folder / "other")
        assert process.wait(timeout=90) == 1
        assert RunRecord.read(folder / "run").status == "failed"
        time.sleep(20)  # for the other one to notice
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def test_short_epochs_have_checkpoints_too(tmp_path: Path) -> None:
    """The ranks agree after so many batches, be they of one epoch or of several."""
    process = start_until_checkpoint(tmp_path, "data.train_samples=320", "trainer.max_epochs=400")
    process.kill()
    process.wait()


def test_a_signal_to_one_of_them(whole: Path, tmp_path: Path) -> None:
    """Both keep a checkpoint and end; exit code 143."""
    process = start_until_checkpoint(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert RunRecord.read(tmp_path / "run").status == "interrupted"
    complete(start(tmp_path))
    ended_as(whole, tmp_path)
