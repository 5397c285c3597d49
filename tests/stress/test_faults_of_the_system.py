"""Real limits and real deaths: one clear line each, an exit code, and nothing finished lost."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.disks import fill, mounted
from helpers.programs import Program, run_program

from hpml.checkpointing.resume_choice import resume_checkpoints
from hpml.records.run_record import RunRecord

pytestmark = pytest.mark.stress

JOB = ["data=synthetic", "model=small", "device=cpu", "data.train_samples=1600", "callbacks=none"]
JOB += ["data.test_samples=200", "data.batch_size=40", "logger=none", "checkpoint.every_s=0.2"]
RUN = "hydra.run.dir=run"


def start(folder: Path, *words: str, limits: dict[str, int] | None = None) -> Program:
    return Program(["-m", "hpml.train", *JOB, *words], folder, limits=limits)


def start_until_checkpoint(folder: Path, *words: str) -> Program:
    run = start(folder, RUN, *words)
    run.wait_for(lambda: resume_checkpoints(folder / "run"))
    return run


def ended(program: Program) -> tuple[int, str]:
    """Its exit code and its line about an error."""
    _, stderr = program.communicate(timeout=120)
    assert "Traceback" not in stderr
    return program.wait(), stderr


def suspend_workers(process: Program) -> None:
    for worker in psutil.Process(process.pid).children():
        worker.suspend()


def test_a_full_disk(tmp_path: Path) -> None:
    """The run fails with a line; its record says so; on a disk with room it resumes."""
    with mounted(tmp_path / "disk", "size=7m") as folder:
        words = ["trainer.max_epochs=200", "resume=auto", "logger=tensorboard"]
        full = start_until_checkpoint(folder, *words)
        fill(folder / "other")
        code, line = ended(full)
        assert code == 1
        assert line.startswith("failed: ")
        assert line.endswith("No space left on device\n")
        assert RunRecord.read(folder / "run").status == "failed"
        whole = resume_checkpoints(folder / "run")
        assert whole
        (folder / "other").unlink()
        resumed = start(folder, RUN, *words)
        resumed.wait_for(lambda: set(resume_checkpoints(folder / "run")) - set(whole))
        resumed.send_signal(signal.SIGINT)
        assert ended(resumed)[0] == 130
        assert len(RunRecord.read(folder / "run").resumed) == 1


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """Two kinds of it, each named in the line; exit code 2."""
    with mounted(tmp_path / "disk", "size=1m,ro") as folder:
        for word in (f"output_dir={folder}/out", f"hydra.run.dir={folder}/run"):
            code, line = ended(start(tmp_path, word))
            assert code == 2
            assert line.startswith("error: ")
            assert str(folder) in line
            assert line.endswith("Read-only file system\n")


def test_two_runs_on_one_directory(tmp_path: Path) -> None:
    """The second is refused, and the first completes as if nothing had been."""
    words = ["trainer.max_epochs=6", "resume=auto"]
    first = start_until_checkpoint(tmp_path, *words)
    log = (tmp_path / "run" / "train.log").read_bytes()
    refused = "error: hydra.run.dir=run: another run is at work there\n"
    assert ended(start(tmp_path, RUN, *words)) == (2, refused)
    assert (tmp_path / "run" / "train.log").read_bytes().startswith(log)
    assert ended(first) == (0, "")
    assert RunRecord.read(tmp_path / "run").status == "completed"


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    """As Linux does where memory ends; the run has resume checkpoints."""
    run = start_until_checkpoint(tmp_path, "data.num_workers=2", "trainer.max_epochs=500")
    psutil.Process(run.pid).children()[0].kill()
    code, line = ended(run)
    assert code == 1
    assert line.startswith("failed: data worker ")
    assert "was killed (Killed); for want of memory?" in line
    assert line.count("\n") == 1
    assert RunRecord.read(tmp_path / "run").status == "failed"
    assert resume_checkpoints(tmp_path / "run")


@pytest.mark.parametrize(
    ("size", "told"),
    [("512k", "a data worker: unable to allocate shared memory(shm) for "), ("4k", "no shared ")],
)
def test_shared_memory_that_is_too_small(tmp_path: Path, size: str, told: str) -> None:
    """For a batch, or for the workers' queues: the reason and what to give, at once, in a line."""
    words = [*JOB, "data.num_workers=1", "data.image_size=64", "trainer.max_epochs=1"]
    program = shlex.join([sys.executable, "-m", "hpml.train", *words])
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    fill_it = ": > /dev/shm/a; head -c 4k /dev/zero > /dev/shm/b" if size == "4k" else ":"
    unshare = ["unshare", "-Urm", "sh", "-c"]
    if subprocess.run([*unshare, mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted")
    begun = time.monotonic()
    command = [*unshare, f"{mount}; {fill_it}; exec {program}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"failed: {told}")
    assert " MiB: give it more (--shm-size of a container), fewer data.num_workers, or" in line
    assert time.monotonic() - begun < 60  # data.timeout_s is 300
    assert "Traceback" not in done.stdout


def test_a_worker_that_hangs(tmp_path: Path) -> None:
    """The run ends after `data.timeout_s`, its workers with it."""
    words = ["data.num_workers=1", "trainer.max_epochs=500", "data.timeout_s=3"]
    run = start_until_checkpoint(tmp_path, *words)
    suspend_workers(run)
    code, line = ended(run)
    assert (code, line.partition(":")[0]) == (1, "failed")
    assert "no batch came for data.timeout_s=3: a worker hangs" in line
    assert resume_checkpoints(tmp_path / "run")
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_a_worker_that_hangs_while_a_signal_comes(tmp_path: Path) -> None:
    """It waits for no checkpoint that cannot come."""
    run = start_until_checkpoint(tmp_path, "data.num_workers=1", "trainer.max_epochs=500")
    suspend_workers(run)
    time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    assert ended(run)[0] == 143
    assert RunRecord.read(tmp_path / "run").status == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_too_little_memory(tmp_path: Path) -> None:
    """A line with the peak, the batch size and what to give; an address space of 6 GiB."""
    words = ["data.train_samples=4096", "data.batch_size=4096", "model.width=512"]
    run = start(tmp_path, *words, RUN, limits={"RLIMIT_AS": 6 * 2**30})
    code, line = ended(run)
    assert code == 1
    assert line.startswith("failed: out of memory on the host; ")
    assert "MiB in this process at its peak with data.batch_size=4096: give a smaller one" in line
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "failed"
    assert record.cause in line


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """A line that names the epoch, and what was there before stays."""
    code, line = ended(start(tmp_path, "optimizer.lr=1e30", RUN))
    assert code == 1
    assert line.startswith("failed: train/loss is not finite in epoch 0")
    assert RunRecord.read(tmp_path / "run").status == "failed"


def test_a_run_that_is_killed_outright(tmp_path: Path) -> None:
    """It can say nothing; the report does, and the same command resumes."""
    words = ["trainer.max_epochs=8", "resume=auto"]
    run = start_until_checkpoint(tmp_path, *words)
    run.kill()
    run.communicate()
    assert RunRecord.read(tmp_path / "run").status == "running"
    report = run_program(["-m", "hpml.report", "run", "--output", "report"], tmp_path)
    assert "running: run" in report.stdout + report.stderr
    assert ended(start(tmp_path, RUN, *words)) == (0, "")
    record = RunRecord.read(tmp_path / "run")
    assert (record.status, len(record.resumed), len(record.epochs)) == ("completed", 1, 8)
