"""What a sweep says before it starts, and how its jobs are started."""

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from made import make_run
from sweeping import PROGRAM, contents, environment, records, start, sweep

from hpml.records import RunRecord

SWEEP = Path("outputs") / "sweeps" / "s"


def order(stdout: str) -> list[str]:
    """The names of the jobs as they were started."""
    lines = (line for line in stdout.splitlines() if line.startswith("job "))
    return [line.split(": ", 1)[1].partition(";")[0] for line in lines]


def test_the_same_command_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Completed jobs stay as they are, byte for byte; what is new or failed runs."""
    first = sweep(tmp_path, "optimizer=sgd,adam", "+fault=none", "seed=0")
    assert first.returncode == 0, first.stderr
    before = contents(tmp_path / SWEEP / "optimizer=sgd")
    assert before
    (tmp_path / SWEEP / "optimizer=adam" / "record.json").write_text("{")
    again = sweep(tmp_path, "optimizer=sgd,adam", "+fault=none", "seed=0,1")
    assert again.returncode == 0, again.stderr
    assert "4 jobs, 1 of them complete" in again.stdout
    assert order(again.stdout)[0] == "optimizer=adam,seed=0"
    assert contents(tmp_path / SWEEP / "optimizer=sgd") == before
    # a repeat of the whole is nothing but the report
    third = sweep(tmp_path, "optimizer=sgd,adam", "+fault=none", "seed=0,1")
    assert third.returncode == 0
    assert order(third.stdout) == []
    assert "4 jobs, 4 of them complete" in third.stdout


def test_another_command_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """It would write over a completed job; the message says in what they differ."""
    assert sweep(tmp_path, "seed=0,1").returncode == 0
    before = contents(tmp_path / SWEEP / "seed=0")
    other = sweep(tmp_path, "seed=0,1", "optimizer.lr=0.5")
    assert other.returncode == 2
    assert other.stderr == (
        "error: outputs/sweeps/s/seed=0 holds a completed job with optimizer.lr=0.1 (now 0.5): "
        "give another sweep.name\n"
    )
    assert contents(tmp_path / SWEEP / "seed=0") == before


@pytest.mark.parametrize("wanted", ["error", "keep", "rerun"])
def test_what_ran_other_code_is_kept_or_run_again_as_one_says(tmp_path: Path, wanted: str) -> None:
    """Without a word it is refused: nothing is lost, nothing mixed in silence."""
    source = tmp_path / "own.py"
    source.write_text("def network(num_classes):\n    return 1\n")
    mine = ["model._target_=own.network"]
    path = environment(PYTHONPATH=str(tmp_path))
    first = start(tmp_path, "seed=0,1", *mine, env=path)
    assert first.wait(timeout=60) == 0
    before = contents(tmp_path / SWEEP / "seed=0")
    source.write_text("def network(num_classes):\n    return 2\n")
    changed = () if wanted == "error" else (f"sweep.on_code_change={wanted}",)
    second = start(tmp_path, "seed=0,1", *mine, *changed, env=path)
    stdout, stderr = second.communicate(timeout=60)
    assert second.returncode == (2 if wanted == "error" else 0)
    assert len(order(stdout)) == (2 if wanted == "rerun" else 0)
    assert (contents(tmp_path / SWEEP / "seed=0") == before) == (wanted != "rerun")
    if wanted == "error":
        assert "2 of 2 completed jobs ran other code than there is now: give" in stderr


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    """It checks all jobs, and says how many there are, how long they take, how much they fill."""
    make_run(
        tmp_path / "outputs" / "runs" / "2026-01-01",
        "x",
        config=json.loads(config_of_a_job(tmp_path)),
        environment={"host": socket.gethostname()},
        wall_s=60.0,
    )
    before = contents(tmp_path)
    done = sweep(tmp_path, "optimizer=sgd,adam", "seed=0,1", "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == before
    assert not (tmp_path / SWEEP).exists()
    assert "4 jobs; about 4 min and " in done.stdout
    assert "kB for those to come, as earlier runs here say" in done.stdout
    assert "  optimizer=adam,seed=1\n" in done.stdout
    wrong = sweep(tmp_path, "optimizer=sgd,adam", "seed=0,-1", "sweep.dry_run=true")
    assert wrong.returncode == 2
    assert "(job optimizer=sgd,seed=-1; no job was started)" in wrong.stderr


def config_of_a_job(folder: Path) -> str:
    """What a job of QUICK resolves to, as its record keeps it."""
    (folder / "other").mkdir()
    assert sweep(folder / "other", "seed=0").returncode == 0
    (record,) = records(folder / "other").values()
    return json.dumps(record.config)


def test_repeats_take_turns(tmp_path: Path) -> None:
    """By default where seeds are swept; otherwise as given."""
    interleaved = sweep(tmp_path, "optimizer=sgd,adam", "seed=0,1")
    names = [f"optimizer={name},seed={seed}" for seed in (0, 1) for name in ("sgd", "adam")]
    assert order(interleaved.stdout) == names
    assert "job 2 of 4: optimizer=adam,seed=0; about" in interleaved.stdout
    given = sweep(
        tmp_path, "optimizer=sgd,adam", "seed=0,1", "sweep.order=given", "sweep.name=other"
    )
    names = [f"optimizer={name},seed={seed}" for name in ("sgd", "adam") for seed in (0, 1)]
    assert order(given.stdout) == names


def test_a_job_has_its_record_command_and_configuration(tmp_path: Path) -> None:
    """Options of the user's own and Hydra's keys reach it; its command is that of a run like it."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("_target_: hpml.model.small\nx: 1\n")
    done = sweep(
        tmp_path,
        *("--config-dir", "mine", "model=own", "model.x=1,2", "hydra.job.name=renamed"),
        "+note=${hydra:job.num}",
    )
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert {name: record.config["note"] for name, record in found.items()} == {
        "model.x=1": 0,
        "model.x=2": 1,
    }
    assert found["model.x=2"].config["run_dir"] == str(tmp_path / SWEEP / "model.x=2")
    assert (tmp_path / SWEEP / "model.x=1" / "renamed.log").exists()
    command = found["model.x=2"].command
    assert command.startswith(shlex.join([PROGRAM[1], "--config-dir", "mine", "hydra.job.name="]))
    assert command.endswith(" hydra.mode=RUN")
    assert "model.x=2" in command
    assert "sweep.name" not in command
    assert found["model.x=1"].choices["model"] == "own"


def test_an_experiment_that_starts_a_sweep_does_so_once(tmp_path: Path) -> None:
    """Its jobs are single runs; without a name the sweep's is the time."""
    command = [*PROGRAM, "experiment=optimizers", "data=synthetic", "model=small", "device=cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "outputs" / "sweeps").glob("*/*/record.json"))
    options = ["adadelta", "adagrad", "adam", "nesterov", "sgd"]
    assert [file.parent.name for file in files] == [f"optimizer={name}" for name in options]
    assert not (tmp_path / "outputs" / "runs").exists()


def test_devices_that_are_not_there_are_skipped_and_told(tmp_path: Path) -> None:
    """`experiment=devices` runs on what the machine has."""
    command = [*PROGRAM, "experiment=devices", "data=synthetic", "model=small", "sweep.name=s"]
    hidden = environment(CUDA_VISIBLE_DEVICES="")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=hidden
    )
    assert done.returncode == 0, done.stderr
    assert next(iter(records(tmp_path))) == "device=cpu"
    assert "skipped: device=gpu: PyTorch sees no such device here" in done.stdout


def test_each_gpu_may_have_a_job(tmp_path: Path) -> None:
    """Side by side, each with a GPU of its own; the report says that they shared the machine."""
    process = start(
        tmp_path,
        *("seed=0,1,2,3", "+nap=0.5", "sweep.parallel=gpus"),
        "+gpu=${oc.env:CUDA_VISIBLE_DEVICES}",
        env=environment(CUDA_VISIBLE_DEVICES="3,5"),
    )
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    found = records(tmp_path).values()
    assert sorted(record.config["gpu"] for record in found) == ["3", "3", "5", "5"]
    assert "hpml 0" not in stdout  # each has its log
    assert "shared the machine with another one" in stdout


@pytest.mark.parametrize(
    ("overrides", "variables", "message"),
    [
        (["trainer.devices=1,2"], {"CUDA_VISIBLE_DEVICES": "0"}, "a job has one GPU, but trainer"),
        (["seed=0,1"], {"CUDA_VISIBLE_DEVICES": ""}, "PyTorch sees no GPU here"),
    ],
)
def test_gpus_that_cannot_be_shared_out_are_refused(
    tmp_path: Path, overrides: list[str], variables: dict[str, str], message: str
) -> None:
    """One line, exit code 2."""
    process = start(tmp_path, *overrides, "sweep.parallel=gpus", env=environment(**variables))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr.startswith(f"error: sweep.parallel=gpus: {message}")
    assert stderr.count("\n") == 1


def test_several_batches_of_a_sweeper_make_one_sweep(tmp_path: Path) -> None:
    """A failure in the first does not keep the second from running; one report, one list."""
    done = sweep(tmp_path, "+fault=exception,none,kill", "hydra.sweeper.max_batch_size=2")
    assert done.returncode == 1
    assert len(records(tmp_path)) == 3
    assert done.stdout.count("report: ") == 1
    assert done.stderr.splitlines()[-1].startswith("failed: 2 jobs: ")


def test_a_folder_that_is_no_jobs_is_left_alone(tmp_path: Path) -> None:
    """Somebody keeps something there."""
    precious = tmp_path / SWEEP / "seed=0" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    done = sweep(tmp_path, "seed=0,1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "exists, and is no job's" in done.stderr
    assert precious.read_text() == "mine"


def test_a_job_whose_input_is_wrong_is_recorded(tmp_path: Path) -> None:
    """What only the job can find out is in its record, and the others run."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "if 'seed=1' in sys.argv: sys.exit('no record of mine')\n"
        "from light_program import hpml, run_hydra\n"
        "run_hydra(hpml.train.job, 'train')\n"
    )
    command = [sys.executable, str(program), "-m", "seed=0,1,2", "data=synthetic", "sweep.name=s"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    found = records(tmp_path)
    assert {name: record.status for name, record in found.items()} == {
        "seed=0": "completed",
        "seed=1": "failed",
        "seed=2": "completed",
    }
    failed: RunRecord = found["seed=1"]
    assert failed.cause == "SystemExit: ended with exit code 1"
    assert (failed.error or {})["log_end"] == "no record of mine"
    assert failed.config["seed"] == 1
