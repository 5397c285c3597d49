"""A sweep on a cluster of one node: jobs are killed and preempted, and nothing finished is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import one_node_slurm
from helpers.configurations import ROOT
from helpers.programs import run_program
from helpers.sweeps import SWEEP
from helpers.trained import last_weights

from hpml.checkpointing.resume_choice import resume_checkpoints
from hpml.records.run_record import RunRecord

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not one_node_slurm.is_here(), reason="needs SLURM's programs, and root"),
]
JOB = ["data=synthetic", "model=small", "model.width=8", "data.train_samples=1600"]
JOB += ["data.test_samples=200", "data.batch_size=40", "trainer.max_epochs=4", "device=cpu"]
JOB += ["callbacks=none", "logger=none", "checkpoint.every_s=0.2"]
RATES = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]


@pytest.fixture(autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At work, with no job in its queue."""
    with one_node_slurm.running(tmp_path_factory.mktemp("slurm")):
        yield
        ours = str(tmp_path_factory.getbasetemp())
        for line in squeue("%i %Z").splitlines():
            number, _, folder = line.partition(" ")
            if folder.startswith(ours):
                subprocess.run(["scancel", number], check=True)


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A program with its output in a file."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=(folder / "output.txt").open("a"),
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep(folder: Path, *words: str) -> subprocess.Popen[str]:
    rates = ",".join(map(str, RATES))
    launcher = ["hydra/launcher=slurm", "hydra.launcher.timeout_min=30", "sweep.name=s"]
    return start(folder, "hpml.train", "-m", *launcher, *JOB, f"optimizer.lr={rates}", *words)


def record(folder: Path, rate: float) -> RunRecord:
    return RunRecord.read(folder / SWEEP / f"optimizer.lr={rate}")


def wait(until: Callable[[], object], output: Path, process: Any = None) -> None:
    """Returns once something holds, which has to come while a process is at work."""
    end = time.monotonic() + 600
    while not until():
        assert process is None or process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.05)


def wait_for_checkpoint(folder: Path, rate: float, process: subprocess.Popen[str]) -> None:
    job = folder / SWEEP / f"optimizer.lr={rate}"
    wait(lambda: resume_checkpoints(job), folder / "output.txt", process)


def submitted(folder: Path) -> dict[str, str]:
    """SLURM's number of each job, by the job's name."""
    names = json.loads((folder / SWEEP / ".slurm" / "jobs.json").read_text())
    return {name: number for number, name in names.items()}


def submit(folder: Path, *words: str | Path, **variables: str) -> str:
    """SLURM's number of a batch job."""
    command, variables = ["sbatch", "--parsable", *words], os.environ | variables
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def kill_outright(number: str) -> None:
    """Kills all of a job's processes: nobody is left on its node to write what happened."""
    array, task = number.split("_")
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            of = process.environ()
            if (of.get("SLURM_ARRAY_JOB_ID"), of.get("SLURM_ARRAY_TASK_ID")) == (array, task):
                process.kill()


def test_a_sweep_with_a_job_killed_and_one_preempted(tmp_path: Path) -> None:
    """The others complete; the preempted one goes on exactly; the killed one runs when asked."""
    process = sweep(tmp_path)
    wait_for_checkpoint(tmp_path, 0.02, process)
    kill_outright(submitted(tmp_path)["optimizer.lr=0.02"])
    wait_for_checkpoint(tmp_path, 0.04, process)
    number = submitted(tmp_path)["optimizer.lr=0.04"]
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    report = ["-m", "hpml.report", "outputs/sweeps/s", "--output", "during"]
    assert run_program(report, tmp_path).returncode == 0
    assert process.wait(timeout=400) == 1
    output = (tmp_path / "output.txt").read_text()
    assert output.endswith("failed: 1 job: optimizer.lr=0.02\n")
    assert "Traceback" not in output
    found = {rate: record(tmp_path, rate) for rate in RATES}
    expected = {rate: "failed" if rate == 0.02 else "completed" for rate in RATES}
    assert {rate: of_job.status for rate, of_job in found.items()} == expected
    killed, preempted = found[0.02], found[0.04]
    assert killed.cause.startswith("ended by SLURM, or with its node")
    assert preempted.resumed  # SLURM may send a signal again to the job that it has started anew
    assert [epoch.epoch for epoch in preempted.epochs] == [0, 1, 2, 3]
    report = (tmp_path / SWEEP / "report.html").read_text()
    assert all(f"optimizer.lr={rate}" in report for rate in RATES)

    again = sweep(tmp_path)  # the one that was killed, from its last point
    assert again.wait(timeout=200) == 0
    resumed = record(tmp_path, 0.02)
    assert (resumed.status, len(resumed.resumed)) == ("completed", 1)
    for rate in (0.02, 0.04):
        alone = (f"optimizer.lr={rate}", f"hydra.run.dir=whole-{rate}")
        whole = start(tmp_path, "hpml.train", *JOB, *alone)
        assert whole.wait(timeout=100) == 0
        sweeps = tmp_path / SWEEP / f"optimizer.lr={rate}"
        assert last_weights(sweeps) == last_weights(tmp_path / f"whole-{rate}")


def test_a_launcher_that_ends_leaves_its_jobs_in_the_queue(tmp_path: Path) -> None:
    """The same command waits for them, and submits none of them again."""
    process = sweep(tmp_path)
    wait_for_checkpoint(tmp_path, 0.01, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    first = (tmp_path / "output.txt").read_text()
    assert "6 jobs still in the queue: scancel " in first
    again = sweep(tmp_path)
    assert again.wait(timeout=400) == 0
    output = (tmp_path / "output.txt").read_text().removeprefix(first)
    assert "in the queue already: " in output  # 6 jobs, or 5 where one has completed meanwhile
    assert "as SLURM's" not in output
    assert "SIGKILL" not in output
    for rate in RATES:
        of_job = record(tmp_path, rate)
        assert (of_job.status, of_job.resumed) == ("completed", [])


def test_a_completed_job_that_is_put_back_is_left_alone(tmp_path: Path) -> None:
    """By hand, or because it was warned in its last moment."""
    process = sweep(tmp_path, "optimizer.lr=0.01")
    assert process.wait(timeout=200) == 0
    file = next((tmp_path / SWEEP).glob("*/record.json"))
    before = file.read_bytes(), file.stat().st_mtime_ns
    (number,) = submitted(tmp_path).values()
    subprocess.run(["scontrol", "requeue", number], check=True)
    wait(lambda: number not in squeue(), tmp_path / "output.txt")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("hydra.launcher.timeout_min=0", "hydra.launcher.timeout_min=0: must be at least 1"),
        ("hydra.launcher.nodes=2", "hydra.launcher.nodes=2: a job of a sweep is one task"),
        ("hydra.launcher.partition=nope", "hydra.launcher: invalid partition specified: nope"),
        ("sweep.parallel=gpus", "sweep.parallel: not with hydra/launcher=slurm"),
    ],
)
def test_what_the_cluster_cannot_do_is_told(tmp_path: Path, word: str, told: str) -> None:
    """Exit code 2, nothing in the queue."""
    process = sweep(tmp_path, word)
    assert process.wait(timeout=60) == 2
    assert (tmp_path / "output.txt").read_text().splitlines()[-1].startswith(f"error: {told}")
    assert str(tmp_path) not in squeue("%Z")


def test_ranges_are_checked_before_anything_is_submitted(tmp_path: Path) -> None:
    """One line, exit code 2, an empty queue."""
    process = sweep(tmp_path, "data.batch_size=40,0")
    assert process.wait(timeout=60) == 2
    (line,) = (tmp_path / "output.txt").read_text().splitlines()
    assert line.startswith("error: data.batch_size=0: ")
    assert not (tmp_path / SWEEP).exists()


def assert_goes_on(folder: Path, script: Path, **variables: str) -> None:
    """A warned job saves where it is, returns to the queue, and completes."""
    number = submit(folder, script, **variables)
    run, output = folder / "run", folder / "batch.txt"
    wait(lambda: resume_checkpoints(run), output)
    subprocess.run(["scancel", "--signal=USR1", number], check=True)
    wait(lambda: RunRecord.read(run).status == "completed", output)
    assert len(RunRecord.read(run).resumed) == 1
    assert f"job {number} is back in the queue" in output.read_text()


def test_a_batch_job_that_is_warned_goes_on_by_itself(tmp_path: Path) -> None:
    """A run of a batch script of one's own: SIGUSR1, a point, back into the queue."""
    script = tmp_path / "job.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH --requeue --open-mode=append --output=batch.txt\n"
        f"srun {sys.executable} -m hpml.train {' '.join(JOB)} hydra.run.dir=run\n"
    )
    assert_goes_on(tmp_path, script)


@pytest.mark.parametrize("by", ["lightning", "srun", "torchrun"])
def test_a_batch_job_of_two_processes_goes_on_by_itself(tmp_path: Path, by: str) -> None:
    """Whoever starts the processes; torchrun has to be told to hand SLURM's warning on."""
    handled = "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
    torchrun = Path(sys.executable).with_name("torchrun")
    program = {"torchrun": f"{torchrun} {handled} --nproc-per-node=2"}.get(by, sys.executable)
    tasks = 2 if by == "srun" else 1
    script = tmp_path / "job.sh"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --requeue --open-mode=append --output=batch.txt"
        f" --nodes=1 --ntasks-per-node={tasks}\n"
        f"srun {program} -m hpml.train {' '.join(JOB)} trainer.devices=2 hydra.run.dir=run\n"
    )
    assert_goes_on(tmp_path, script, OMP_NUM_THREADS="1")


LATE = """
import time, lightning as L
class Late(L.Callback):
    def on_train_batch_end(self, trainer, *_):
        time.sleep(0.2 * trainer.global_rank)
"""


def test_two_tasks_of_a_node_are_named(tmp_path: Path) -> None:
    """The record has the host of both, and says which is late; so does a diagnosis. Both tune."""
    (tmp_path / "late.py").write_text(LATE)
    words = f"{' '.join(JOB)} trainer.devices=2 +callbacks.late._target_=late.Late"
    script = tmp_path / "job.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH --output=batch.txt --nodes=1 --ntasks-per-node=2\n"
        f"export HPML_PROC={tmp_path}\n"  # what others take is not looked at
        f"srun {sys.executable} -m hpml.train {words} hydra.run.dir=run\n"
        f"srun {sys.executable} -m hpml.diagnose {words} diagnose.budget_s=30 hydra.run.dir=out\n"
        f"srun {sys.executable} -m hpml.tune {words} tune.budget_s=20 hydra.run.dir=tuned\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    number = submit(tmp_path, script, OMP_NUM_THREADS="1", PYTHONPATH=path)
    wait(lambda: number not in squeue(), tmp_path / "batch.txt")
    record = RunRecord.read(tmp_path / "run")
    host = socket.gethostname()
    assert [place["host"] for place in record.environment["ranks"]] == [host] * 2
    assert {(e.ranks["late"]["rank"], e.ranks["late"]["host"]) for e in record.epochs} == {
        (1, host)
    }
    assert record.verdict is not None
    assert record.verdict["evidence"].startswith(f"rank 1 on {host} is late by ")
    tuned = json.loads((tmp_path / "tuned" / "tune.json").read_text())
    assert (tuned["processes"], tuned["hosts"]) == (2, [host])
    found = json.loads((tmp_path / "out" / "diagnosis.json").read_text())["diagnoses"][""]
    assert found["verdict"]["kind"] == "imbalance"
    late = found["ranks"]["late"]
    assert (late["rank"], late["cause"], late["host"]) == (1, "overhead", host)


def test_the_example_of_the_lab(tmp_path: Path) -> None:
    """Warned in the middle, it goes back into the queue from outside its container, and completes.

    The container is a stand-in that runs what it is given here.
    """
    container = tmp_path / "bin" / "apptainer"
    container.parent.mkdir()
    container.write_text(
        '#!/bin/bash\nwhile [ "$1" != hpml.sif ]; do shift; done\nshift\n'
        f'[ "$1" = python ] && shift\nPATH=/usr/bin-without-scontrol exec {sys.executable} "$@"\n'
    )
    container.chmod(0o755)
    (tmp_path / "hpml.sif").touch()
    example = ROOT / "examples" / "slurm" / "lab.sbatch"
    small = ["data=synthetic", "model=small", "data.train_samples=2048", "lab.parts=[c3,c6]"]
    small += ["callbacks=none", "+workers.rounds=1", "+workers.seconds=0.1", "+workers.most=1"]
    free = ["--gpus-per-node=0", "--signal=B:USR1@1"]
    path = f"{container.parent}:{os.environ['PATH']}"
    number = submit(tmp_path, *free, example, *small, "trainer.max_epochs=2", PATH=path)
    output = tmp_path / f"hpml-lab-{number}.txt"
    labs = tmp_path / "outputs" / "labs" / "lab"
    wait(lambda: list(labs.glob("*/*/*/record.json")) or number not in squeue(), output)
    assert number in squeue(), output.read_text()
    subprocess.run(["scancel", "--batch", "--signal=USR1", number], check=True)

    def completed() -> int:
        files = labs.glob("*/training/*/record.json")
        return [RunRecord.read(file).status for file in files].count("completed")

    wait(lambda: completed() >= 5 and number not in squeue(), output)
    assert "not requeued: scontrol is not here" in output.read_text()
    assert (labs / "report.html").exists()


def squeue(form: str = "%i") -> str:
    command = ["squeue", "--noheader", f"--format={form}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
