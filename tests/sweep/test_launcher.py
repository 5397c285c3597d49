"""What a sweep says before it starts, and how its jobs are started."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from helpers.configurations import TESTS, Compose, stress
from helpers.programs import run_program
from helpers.records import HERE, make_run
from helpers.sweeps import PROGRAM, QUICK, SWEEP, contents, records, start, statuses, sweep

from hpml.config.conf import resolve
from hpml.errors import UserError
from hpml.records.run_record import RunRecord
from hpml.sweep.directory import check_name

GPUS = "sweep.parallel=gpus device=auto"


def order(stdout: str) -> list[str]:
    """The names of the jobs as they were started."""
    lines = (line for line in stdout.splitlines() if line.startswith("job "))
    return [line.split(": ", 1)[1].partition(";")[0] for line in lines]


@pytest.mark.slow
def test_the_same_command_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Completed jobs stay as they are, byte for byte; new and failed ones run."""
    jobs = ("optimizer=sgd,adam", "+fault=none")
    sweep(tmp_path, *jobs, "seed=0")
    before = contents(tmp_path / SWEEP / "optimizer=sgd")
    assert before
    (tmp_path / SWEEP / "optimizer=adam" / "record.json").write_text("{")
    again = sweep(tmp_path, *jobs, "seed=0,1")
    assert "4 jobs, 1 of them complete" in again.stdout
    assert order(again.stdout)[0] == "optimizer=adam,seed=0"
    assert contents(tmp_path / SWEEP / "optimizer=sgd") == before
    # a repeat of the whole is nothing but the report
    third = sweep(tmp_path, *jobs, "seed=0,1")
    assert order(third.stdout) == []
    assert "4 jobs, 4 of them complete" in third.stdout
    # another command would write over a completed job
    other = sweep(tmp_path, *jobs, "seed=0", "data.seed=7", exit_code=2)
    assert other.stderr == (
        "error: outputs/sweeps/s/optimizer=sgd holds another completed job with data.seed=0 "
        "(now 7): give another sweep.name\n"
    )
    assert contents(tmp_path / SWEEP / "optimizer=sgd") == before


def test_what_ran_other_code_is_kept_or_run_again_as_one_says(tmp_path: Path) -> None:
    """Without a word it is refused: nothing is lost, nothing mixed in silence."""
    source = tmp_path / "network_of_mine.py"
    source.write_text("def network(num_classes):\n    return 1\n")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))

    def sweep_with(*words: str) -> tuple[int, int, str]:
        own = ("seed=0", "model._target_=network_of_mine.network", *words)
        done = sweep(tmp_path, *own, exit_code=None, PYTHONPATH=paths)
        return done.returncode, len(order(done.stdout)), done.stderr

    assert sweep_with() == (0, 1, "")
    before = contents(tmp_path / SWEEP / "0")
    source.write_text("def network(num_classes):\n    return 2\n")
    exit_code, started, stderr = sweep_with()
    assert (exit_code, started) == (2, 0)
    assert "1 of 1 completed jobs ran other code than there is now: give" in stderr
    assert sweep_with("sweep.on_code_change=keep") == (0, 0, "")
    assert contents(tmp_path / SWEEP / "0") == before
    assert sweep_with("sweep.on_code_change=rerun") == (0, 1, "")
    assert contents(tmp_path / SWEEP / "0") != before


def test_a_dry_run_leaves_nothing(tmp_path: Path, compose: Compose) -> None:
    """It checks all jobs, and prints their number and order, and how much time and disk they need.

    By default repeats take turns where seeds are swept.
    """
    earlier = tmp_path / "outputs" / "runs" / "2026-01-01"
    make_run(earlier, "x", config=resolve(compose(*QUICK)), environment=HERE, wall_s=60.0)
    before = contents(tmp_path)
    optimizers, seeds = ("sgd", "adam"), (0, 1)
    given = [f"optimizer={name},seed={seed}" for name in optimizers for seed in seeds]
    by_seed = [f"seed={seed},optimizer={name}" for seed in seeds for name in optimizers]
    swept = ("optimizer=sgd,adam", "seed=0,1")
    for words, wanted, names in (
        (swept, "auto", given[::2] + given[1::2]),
        (swept, "given", given),
        (swept[::-1], "given", by_seed),
    ):
        done = sweep(tmp_path, *words, f"sweep.order={wanted}", "sweep.dry_run=true")
        assert contents(tmp_path) == before
        assert not (tmp_path / SWEEP).exists()
        assert "4 jobs; about 4 min and " in done.stdout
        assert "kB for those to come, as earlier runs here say" in done.stdout
        assert [line[2:] for line in done.stdout.splitlines() if line[:2] == "  "] == names
    wrong = sweep(tmp_path, "optimizer=sgd,adam", "seed=0,-1", "sweep.dry_run=true", exit_code=2)
    assert contents(tmp_path) == before
    assert not (tmp_path / SWEEP).exists()
    assert "(job optimizer=sgd,seed=-1; no job was started)" in wrong.stderr


def test_a_job_has_its_record_command_and_configuration(tmp_path: Path) -> None:
    """Options of the user's own and Hydra's keys reach it; its command is that of a run like it."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("_target_: hpml.models.small\nx: 1\n")
    own = ("--config-dir", "mine", "model=own", "model.x=1,2", "hydra.job.name=renamed")
    sweep(tmp_path, *own, "+note=${hydra:job.num}")
    first, second = records(tmp_path).values()
    assert (first.config["note"], second.config["note"]) == (0, 1)
    assert second.config["run_dir"] == str(tmp_path / SWEEP / "model.x=2")
    assert (tmp_path / SWEEP / "model.x=1" / "renamed.log").exists()
    command = second.command
    begin = [sys.executable, PROGRAM, "--config-dir", "mine", "hydra.job.name="]
    assert command.startswith(shlex.join(begin))
    assert "model.x=2" in command
    assert "hydra.mode" not in command
    assert "sweep.name" not in command
    assert first.choices["model"] == "own"


@pytest.mark.slow
def test_an_experiment_that_starts_a_sweep_does_so_once(tmp_path: Path) -> None:
    """Its jobs are single runs; without a name the sweep's is the time."""
    words = ["experiment=optimizers", "data=synthetic", "model=small", "device=cpu"]
    run_program([PROGRAM, *words], tmp_path)
    files = sorted((tmp_path / "outputs" / "sweeps").glob("*/*/record.json"))
    options = ("adadelta", "adagrad", "adam", "nesterov", "sgd")
    assert [file.parent.name for file in files] == [f"optimizer={name}" for name in options]
    # without the last word it would be a sweep
    assert RunRecord.read(files[-1]).command.endswith(" device=cpu hydra.mode=RUN")
    assert not (tmp_path / "outputs" / "runs").exists()


def test_devices_that_are_not_there_are_skipped_and_told(tmp_path: Path) -> None:
    """`experiment=devices` runs on what the machine has."""
    words = ["experiment=devices", "data=synthetic", "model=small", "sweep.name=s"]
    done = run_program([PROGRAM, *words], tmp_path, CUDA_VISIBLE_DEVICES="")
    assert next(iter(records(tmp_path))) == "device=cpu"
    assert "skipped: device=gpu: PyTorch sees no such device here" in done.stdout


def test_each_gpu_may_have_a_job(tmp_path: Path) -> None:
    """Side by side, each with a GPU of its own; the report says that they shared the machine."""
    jobs = ("seed=0,1,2", "+nap=0.5", "+gpu=${oc.env:CUDA_VISIBLE_DEVICES}")
    done = sweep(tmp_path, *jobs, *GPUS.split(), CUDA_VISIBLE_DEVICES="3,5")
    gpus = [record.config["gpu"] for record in records(tmp_path).values()]
    assert (len(gpus), set(gpus)) == (3, {"3", "5"})
    assert "hpml 0" not in done.stdout  # each has its log
    assert "machine shared: 3 runs of a sweep of 2 jobs at once" in done.stdout
    assert "completed: seed=2 in " in done.stdout


def test_several_batches_of_a_sweeper_make_one_sweep(tmp_path: Path) -> None:
    """A failure in the first does not keep the second from running, nor do their folders meet."""
    faults = ("+fault=exception,none", "seed=0,1")
    done = sweep(tmp_path, *faults, "hydra.sweeper.max_batch_size=2", exit_code=1)
    assert len(records(tmp_path)) == 4
    assert "job 4 of 4: +fault=none,seed=1; about" in done.stdout
    assert done.stdout.count("report: ") == 1
    assert done.stderr.splitlines()[-1].startswith("failed: 2 jobs: ")


@pytest.mark.parametrize("file", ["seed=1/precious.txt", stress("seed=1")])
def test_what_is_no_jobs_is_left_alone(tmp_path: Path, file: str) -> None:
    """Somebody keeps something where a job should go: an error before the first one starts."""
    precious = tmp_path / SWEEP / file
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    done = sweep(tmp_path, "seed=0,1", exit_code=2)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: outputs/sweeps/s/seed=1: ")
    assert precious.read_text() == "mine"
    assert not records(tmp_path)


def test_names_may_have_spaces_and_letters_of_any_kind(tmp_path: Path) -> None:
    """They reach the jobs as they are; so does a list of devices, as one names GPUs."""
    names = ("sweep.name='ünï ☃, 1'", "output_dir='my files'")
    sweep(tmp_path, "seed=0", *names, "trainer.devices=[0]")
    assert len(list((tmp_path / "my files" / "sweeps" / "ünï ☃, 1").glob("*/record.json"))) == 1


def test_two_sweeps_of_one_name_do_not_meet(tmp_path: Path) -> None:
    """The second is refused in one line, also where a value has `${run_dir}`, not known so early.

    The first sweep resumes.
    """
    jobs = ("seed=0", "+own={path: '${run_dir}/mine'}", "+after=go")
    first = start(tmp_path, *jobs)
    first.wait_for(lambda: records(tmp_path))
    second = sweep(tmp_path, *jobs, exit_code=2)
    assert second.stderr == (
        "error: sweep.name=s: another sweep is at work in outputs/sweeps/s; wait for its end, "
        "or give another name\n"
    )
    (tmp_path / "go").touch()
    _, stderr = first.communicate(timeout=60)
    assert (first.returncode, stderr) == (0, "")
    again = sweep(tmp_path, *jobs)
    assert "1 job, 1 of them complete" in again.stdout, again.stderr


@pytest.mark.stress
def test_jobs_that_differ_in_how_they_are_watched_are_jobs(tmp_path: Path) -> None:
    """Each in a folder of its own, also after a failure of both."""
    for words in ([], ["sweep.timeout_s=100"]):
        jobs = ("timing.every_n_steps=10,50", "+fault=exception", *words)
        done = sweep(tmp_path, *jobs, exit_code=1)
        assert len(order(done.stdout)) == len(records(tmp_path)) == 2


@pytest.mark.stress
def test_numbered_jobs_keep_their_folders(tmp_path: Path) -> None:
    """A job more in front changes the numbers; none takes the folder of another."""
    sweep(tmp_path, "+note=a/b,a_b")
    before = contents(tmp_path / SWEEP / "0")
    done = sweep(tmp_path, "+note=c,a/b,a_b")
    assert "3 jobs, 2 of them complete" in done.stdout
    notes = sorted(record.config["note"] for record in records(tmp_path).values())
    assert notes == ["a/b", "a_b", "c"]
    assert contents(tmp_path / SWEEP / "0") == before


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/tmp/x", "it's", "a\nb"])
def test_a_name_leads_to_a_folder_below_sweeps(name: str) -> None:
    """And to no other."""
    with pytest.raises(UserError, match=r"^sweep\.name="):
        check_name(name)


@pytest.mark.parametrize(
    ("words", "gpus", "message"),
    [
        ('seed=0,1 sweep.name="a/b"', "0", "sweep.name="),
        (f"{GPUS} trainer.devices=1,2", "0", "sweep.parallel=gpus: a job has one GPU, but train"),
        (f"{GPUS} device=cpu seed=0,1", "0", "sweep.parallel=gpus: seed=0 has device=cpu"),
        (f"{GPUS} seed=0,1", "", "sweep.parallel=gpus: PyTorch sees no GPU here"),
        stress(f"{GPUS} seed=0,1", "-1", "sweep.parallel=gpus: PyTorch sees no GPU here"),
        (f"{GPUS} seed=0,1 sweep.on_disturbance=rerun", "0", "sweep.on_disturbance=rerun: not "),
        ("sweep.fail_fast=true,false", "0", "sweep.fail_fast: is one for the whole sweep"),
        ("output_dir=a,b", "0", "output_dir: is one for the whole sweep"),
        ("seed=0,0", "0", "two jobs of the sweep are the same"),
        ("hydra/launcher=basic sweep.dry_run=true seed=0,1", "0", "sweep.dry_run=true: "),
    ],
)
def test_what_cannot_be_swept(tmp_path: Path, words: str, gpus: str, message: str) -> None:
    """One line, exit code 2, no file."""
    done = sweep(tmp_path, *words.split(), CUDA_VISIBLE_DEVICES=gpus, exit_code=2)
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.stress
def test_another_launcher_writes_over_nothing(tmp_path: Path) -> None:
    """It knows no ledger; what it cannot do it reports."""
    first = sweep(tmp_path, "seed=0,1", "hydra/launcher=basic", "sweep.timeout_s=9")
    assert "sweep.timeout_s has no effect with this hydra/launcher" in first.stdout
    assert "report: " in first.stdout
    before = contents(tmp_path / SWEEP / "0")
    second = sweep(tmp_path, "seed=0,1", "hydra/launcher=basic", exit_code=2)
    assert "holds runs; give another name" in second.stderr
    assert contents(tmp_path / SWEEP / "0") == before


def test_a_job_whose_input_is_wrong_is_recorded(tmp_path: Path) -> None:
    """What only the job can find out is in its record, and the others run."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "if 'seed=1' in sys.argv: sys.exit('no record of mine')\n"
        "from helpers.light_program import job, run_hydra\n"
        "run_hydra(job, 'train')\n"
    )
    words = ["-m", "seed=1,2", "data=synthetic", "sweep.name=s"]
    run_program([str(program), *words], tmp_path, exit_code=1)
    assert statuses(tmp_path) == {"seed=1": "failed", "seed=2": "completed"}
    failed = records(tmp_path)["seed=1"]
    assert failed.cause == "SystemExit: ended with exit code 1"
    assert (failed.error or {})["log_end"] == "no record of mine"
    assert failed.config["seed"] == 1
