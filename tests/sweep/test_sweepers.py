"""Sweepers that search: what they are told, whatever becomes of a job, and what a sweep leaves."""

import signal
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import stress
from helpers.records import make_run
from helpers.sweeps import SWEEP, contents, make_job, records, start, statuses, sweep
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from hpml.config.conf import find_conf
from hpml.errors import UserError
from hpml.records.run_record import RunRecord
from hpml.sweep.directory import SweepDirectory
from hpml.sweep.sweeper import FailedTrialError, job_return

OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=1")
STORED = ("hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=s")


@pytest.fixture
def optuna() -> Any:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    return pytest.importorskip("optuna")


def ended(folder: Path, metric: float | None, status: str = "completed") -> RunRecord:
    record = make_run(folder, "a", epochs=1)
    record.status, record.epochs[-1].metrics = status, {"val/accuracy": metric}
    if status != "completed":
        record.error = {"type": "ValueError", "message": "it broke"}
    return record


@pytest.mark.parametrize(
    ("metric", "status", "cause"),
    [
        (0.5, "failed", "a: ValueError: it broke"),
        (0.5, "interrupted", "a: ValueError: it broke"),
        (float("nan"), "completed", "a: val/accuracy is nan"),
        (float("inf"), "completed", "a: val/accuracy is inf"),
        (None, "completed", "a: it has no val/accuracy"),
    ],
)
def test_a_job_without_a_value_has_failed(
    tmp_path: Path, metric: float | None, status: str, cause: str
) -> None:
    """A sweeper that searches learns of no number, but of the cause."""
    job = make_job({"data": {}, "model": {}, "trainer": {}})
    told = job_return(job, ended(tmp_path, metric, status), to_searching=True)
    assert told.status == JobStatus.FAILED
    with pytest.raises(FailedTrialError, match=f"^{cause}$"):
        _ = told.return_value


def test_a_job_that_did_not_run_has_failed_and_one_that_did_has_its_value(tmp_path: Path) -> None:
    """To Hydra's own sweeper, which would raise the error, the first one gives NaN."""
    job = make_job({"data": {}, "model": {}, "trainer": {}})
    with pytest.raises(FailedTrialError, match="it did not run"):
        _ = job_return(job, None, to_searching=True).return_value
    assert str(job_return(job, None, to_searching=False).return_value) == "nan"
    completed = ended(tmp_path, 0.5)
    assert job_return(job, completed, to_searching=True).return_value == 0.5


def test_a_study_goes_on_after_trials_that_failed(tmp_path: Path, optuna: Any) -> None:
    """One that diverged, one that was killed and one that was interrupted by itself.

    The best of the others is found, the report is made, and the last line names those that failed.
    """
    faults = "+fault=none,diverge,kill,interrupt"
    trials = ("hydra.sweeper.sampler.seed=6", "hydra.sweeper.n_trials=5")  # all four of them
    done = sweep(tmp_path, *OPTUNA, *trials, faults, exit_code=1)
    by_fault = {record.config["fault"]: record for record in records(tmp_path).values()}
    found = {fault: (record.status, record.cause) for fault, record in by_fault.items()}
    assert found == {
        "none": ("completed", ""),
        "diverge": ("failed", "train/loss is not finite in epoch 0, step 3"),
        "kill": ("failed", "killed by SIGKILL"),
        "interrupt": ("interrupted", "Interrupted: SIGTERM"),
    }
    results = OmegaConf.load(tmp_path / SWEEP / "optimization_results.yaml")
    assert results.best_value == 0.51
    assert results.best_params["+fault"] == "none"
    page = (tmp_path / SWEEP / "report.html").read_text()
    assert page.count(": failed") == 2
    assert done.stdout.count("report: ") == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("failed: 3 jobs: ")
    assert "Error executing job" not in done.stderr


def test_a_stored_study_knows_which_trials_failed(tmp_path: Path, optuna: Any) -> None:
    """And no value of theirs; without a SQLAlchemy that suits, what to install is said at once."""
    words = (*OPTUNA, *STORED, "hydra.sweeper.n_trials=2", "+fault=none,kill")
    if not metadata.version("sqlalchemy").startswith("1."):
        done = sweep(tmp_path, *words, exit_code=2)
        assert done.stderr.startswith("error: hydra.sweeper.storage=sqlite:///study.db: Optuna 2.")
        assert done.stderr.endswith("; pip install 'sqlalchemy<2' 'alembic<1.20'\n")
        assert not (tmp_path / SWEEP).exists()
        return
    sweep(tmp_path, *words, exit_code=1)
    study = optuna.load_study("s", f"sqlite:///{tmp_path / 'study.db'}")
    told = {trial.params["+fault"]: (trial.state.name, trial.value) for trial in study.trials}
    assert told == {"none": ("COMPLETE", 0.51), "kill": ("FAIL", None)}


def test_an_interrupted_search_resumes(tmp_path: Path, optuna: Any) -> None:
    """The command that is printed asks for the same trials; what completed is kept, to the byte."""
    words = (*OPTUNA, "hydra.sweeper.n_trials=3", "optimizer.lr=interval(0.01,0.1)", "+nap=0.3")
    process = start(tmp_path, *words)
    process.wait_for(
        lambda: len(found := records(tmp_path)) == 2 and all(r.epochs for r in found.values())
    )
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "report: outputs/sweeps/s/report.html" in stdout
    assert sorted(statuses(tmp_path).values()) == ["completed", "interrupted"]
    (first,) = (name for name, status in statuses(tmp_path).items() if status == "completed")
    before = contents(tmp_path / SWEEP / first)
    (line,) = (line for line in stderr.splitlines() if line.startswith("to resume: "))
    subprocess.run(line.removeprefix("to resume: "), shell=True, cwd=tmp_path, check=True)
    assert list(statuses(tmp_path).values()) == ["completed"] * 3
    assert contents(tmp_path / SWEEP / first) == before


def test_a_job_that_is_asked_for_twice_runs_once(tmp_path: Path, optuna: Any) -> None:
    """In one batch or in two: a search may ask again for what it knows."""
    words = (*OPTUNA, "hydra.sweeper.n_jobs=3", "hydra.sweeper.n_trials=6", "seed=1,2")
    done = sweep(tmp_path, *words)
    assert set(statuses(tmp_path)) <= {"seed=1", "seed=2"}
    assert done.stdout.count("epoch 0 of seed=1") == 1


def test_a_sweeper_may_end_its_sweep_at_a_failure(tmp_path: Path, optuna: Any) -> None:
    """Where it is told to: the report is made all the same, and the last line says why it ended."""
    words = (*OPTUNA, "hydra.sweeper.max_failure_rate=0", "seed=1,2", "+fault=exception")
    done = sweep(tmp_path, *words, exit_code=1)
    (name,) = statuses(tmp_path)
    assert done.stdout.count("report: ") == 1
    assert done.stderr.splitlines()[-2:] == [
        f"failed: 1 job: {name}",
        f"failed: the sweep ended early: {name}: ValueError: it broke",
    ]


def test_a_search_without_any_value_says_so(tmp_path: Path, optuna: Any) -> None:
    """Optuna's own words, that a record does not exist, tell nobody."""
    done = sweep(tmp_path, *OPTUNA, "hydra.sweeper.n_trials=1", "+fault=exception", exit_code=1)
    end = "failed: the sweep ended early: no job gave a value of val/accuracy (ValueError: "
    assert done.stderr.splitlines()[-1].startswith(end)
    assert (tmp_path / SWEEP / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "hydra.sweeper.direction=minimize",
            "hydra.sweeper.direction=minimize: of val/accuracy the highest is best; "
            "give hydra.sweeper.direction=maximize, or monitor_mode=min",
        ),
        stress(
            "monitor=val/loss",
            "hydra.sweeper.direction=maximize: of val/loss the lowest is best; "
            "give hydra.sweeper.direction=minimize, or monitor_mode=max",
        ),
        stress("data.batch_size=interval(-9,-5)", "data.batch_size=-"),
    ],
)
def test_a_search_of_the_wrong_is_refused(
    tmp_path: Path, optuna: Any, words: str, message: str
) -> None:
    """One line, exit code 2, no folder."""
    done = sweep(tmp_path, *OPTUNA, "seed=1,2", words, exit_code=2)
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


def test_a_refused_sweeper_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Nor those above it that were made for it; what was there before stays."""

    def refuse(config: Any) -> None:
        raise UserError("hydra.sweeper.x=1: no")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hpml.sweep.directory.searches", lambda config: True)
    monkeypatch.setattr("hpml.sweep.directory.arrange", refuse)
    (tmp_path / "kept").mkdir()
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        config = compose("train", overrides=["output_dir=out"], return_hydra_config=True)
    with pytest.raises(SystemExit):
        SweepDirectory().on_multirun_start(config)
    assert capsys.readouterr().err == "error: hydra.sweeper.x=1: no\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_dry_run_of_a_search_shows_its_first_jobs(tmp_path: Path, optuna: Any) -> None:
    """The next ones follow from results, which there are none of."""
    done = sweep(tmp_path, *OPTUNA, "seed=1,2", "sweep.dry_run=true")
    assert done.stdout.splitlines()[-2].startswith("  seed=")
    assert done.stdout.splitlines()[-1].startswith("and those that the sweeper asks for")
    assert not (tmp_path / SWEEP).exists()


def test_a_subdirectory_of_jobs_is_told_to_have_no_effect(tmp_path: Path) -> None:
    """A job's folder is named by what varies, which is how the sweep finds it again."""
    done = sweep(tmp_path, "seed=0,1", "hydra.sweep.subdir=${hydra.job.num}-x")
    assert "hydra.sweep.subdir has no effect: a job's folder is named by what" in done.stdout
    assert list(statuses(tmp_path)) == ["seed=0", "seed=1"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_failure_with_another_launcher_leaves_a_report_too(tmp_path: Path, launcher: str) -> None:
    """Of the jobs that ran before it, or at the same time."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ("seed=0,1", "+fault=none", f"hydra/launcher={launcher}", "trainer.max_epochs=1")
    done = sweep(tmp_path, *words)
    assert (tmp_path / SWEEP / "report.html").exists(), done.stderr
    failing = ("seed=0,1", "+fault=exception", f"hydra/launcher={launcher}", "sweep.name=t")
    done = sweep(tmp_path, *failing, exit_code=1)
    assert done.stdout.count("report: outputs/sweeps/t/report.html") == 1
