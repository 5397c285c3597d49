"""Jobs that other programs disturbed: named, run again, and the least disturbed run kept."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.sweeps import (
    SWEEP,
    contents,
    make_disturbed_run,
    make_job,
    records,
    start,
    statuses,
    sweep,
)

from hpml.records.run_record import RunRecord
from hpml.sweep.reruns import EARLIER, OnDisturbance, disturbance, set_aside, settle, settle_all

RERUN = "sweep.on_disturbance=rerun"


def account(folder: Path) -> dict[str, Any] | None:
    return RunRecord.read(folder).disturbance


def test_a_sweep_ends_with_what_was_disturbed_and_by_what(tmp_path: Path) -> None:
    """By default jobs are marked, the worst first; the same sweep can run them again later."""
    lost = "+lost_s=[4],[0],[1]"
    done = sweep(tmp_path, lost)
    assert (
        "warning: disturbed: 2 jobs: +lost_s=[4]: it waited up to 8 s of 20 s for a core that "
        "other programs had; +lost_s=[1]: it waited up to 2 s of 20 s for a core that other "
        "programs had; sweep.on_disturbance=rerun, with the same sweep.name, runs them again\n"
    ) in done.stdout
    assert not any(record.disturbance for record in records(tmp_path).values())
    again = sweep(tmp_path, lost)
    assert "disturbed: 2 jobs: " in again.stdout
    assert "\njob " not in again.stdout


@pytest.mark.slow
def test_a_disturbed_job_runs_again_and_its_quietest_run_is_kept(tmp_path: Path) -> None:
    """After the others, two times at most; the record says what each run lost."""
    done = sweep(tmp_path, "+lost_s=[4,1,3],[0]", "seed=0", RERUN)
    assert "+lost_s=[4,1,3]: it waited up to 8 s of 20 s for a core that other" in done.stdout
    names = [line for line in done.stdout.splitlines() if line.startswith("job ")]
    assert [name.partition(";")[0] for name in names] == [
        "job 1 of 2: +lost_s=[4,1,3]",
        "job 2 of 3: +lost_s=[0]",
        "job 3 of 3: +lost_s=[4,1,3], again",
        "job 4 of 4: +lost_s=[4,1,3], again",
    ]
    found = records(tmp_path)
    assert found["+lost_s=[4,1,3]"].disturbance == {
        "policy": "rerun",
        "reruns": 2,
        "lost_shares": [0.4, 0.1, 0.3],
        "kept": 1,
    }
    assert found["+lost_s=[0]"].disturbance is None
    assert not (tmp_path / SWEEP / EARLIER).exists()
    (line,) = (line for line in done.stdout.splitlines() if "disturbed: 1 job: " in line)
    assert line.endswith("a core that other programs had")
    # what was accepted does not run again
    before = contents(tmp_path / SWEEP / "+lost_s=[4,1,3]")
    again = sweep(tmp_path, "+lost_s=[4,1,3],[0]", "seed=0", RERUN)
    assert "2 jobs, 2 of them complete" in again.stdout
    assert contents(tmp_path / SWEEP / "+lost_s=[4,1,3]") == before


def test_a_marked_sweep_can_run_its_disturbed_jobs_again(tmp_path: Path) -> None:
    """Those alone; one that is quiet then is accepted."""
    sweep(tmp_path, "+lost_s=[4,0],[0]")
    quiet = contents(tmp_path / SWEEP / "+lost_s=[0]")
    done = sweep(tmp_path, "+lost_s=[4,0],[0]", RERUN)
    assert "2 jobs, 1 of them complete" in done.stdout
    assert "disturbed: " not in done.stdout
    kept = account(tmp_path / SWEEP / "+lost_s=[4,0]")
    assert kept == {"policy": "rerun", "reruns": 1, "lost_shares": [0.4, 0.0], "kept": 1}
    assert contents(tmp_path / SWEEP / "+lost_s=[0]") == quiet


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_rerun_that_is_cut_short_loses_nothing(tmp_path: Path, number: int) -> None:
    """The earlier run stays as it was, byte for byte, and the same command runs it again."""
    words = ("+lost_s=[4,0]", RERUN, "+after=go")
    (tmp_path / "go").touch()
    sweep(tmp_path, "+lost_s=[4,0]", "+after=go")
    before = contents(tmp_path / SWEEP / "0")
    (tmp_path / "go").unlink()
    process = start(tmp_path, *words)
    process.wait_for(lambda: (tmp_path / SWEEP / EARLIER).exists() and records(tmp_path))
    process.send_signal(number) if number == signal.SIGINT else process.kill()
    process.wait(timeout=60)
    where = Path("0") if number == signal.SIGINT else Path(EARLIER, "0")
    after = contents(tmp_path / SWEEP / where)
    assert list(after.values()) == list(before.values())
    (tmp_path / "go").touch()
    done = sweep(tmp_path, *words)
    assert "job 1 of 1: 0, again" in done.stdout
    assert (account(tmp_path / SWEEP / "0") or {})["lost_shares"] == [0.4, 0.0]
    assert statuses(tmp_path) == {"0": "completed"}
    assert not (tmp_path / SWEEP / EARLIER).exists()


def test_a_rerun_that_fails_is_no_failure_of_the_job(tmp_path: Path) -> None:
    """It is told and counted; the earlier run is kept."""
    words = ("+lost_s=[4,4]", "+after=go")
    (tmp_path / "go").touch()
    sweep(tmp_path, *words)
    (tmp_path / "go").unlink()
    done = sweep(tmp_path, *words, RERUN, "sweep.max_reruns=1", "sweep.timeout_s=0.01")
    assert "0: not complete, took longer than sweep.timeout_s=0.01; its earlier run" in done.stdout
    assert statuses(tmp_path) == {"0": "completed"}
    kept = account(tmp_path / SWEEP / "0")
    assert kept == {"policy": "rerun", "reruns": 1, "lost_shares": [0.4, None], "kept": 0}


@pytest.mark.parametrize(("key", "policy"), [("max_wait_s", "wait"), ("max_reruns", "rerun")])
def test_a_limit_of_nothing_is_told(tmp_path: Path, key: str, policy: str) -> None:
    """Where `sweep.on_disturbance` does not ask for what it limits."""
    needs = f"warning: sweep.{key} has no effect without sweep.on_disturbance={policy}"
    words = ("seed=0", "sweep.dry_run=true", f"sweep.{key}=3")
    assert needs in sweep(tmp_path, *words).stdout
    assert needs not in sweep(tmp_path, *words, f"sweep.on_disturbance={policy}").stdout


@pytest.mark.parametrize(("lost_s", "is_it"), [(None, False), (0.4, False), (0.6, True)])
def test_what_counts_as_disturbed(tmp_path: Path, lost_s: float | None, is_it: bool) -> None:
    """A twentieth of the training; a record of an earlier version says nothing."""
    record = make_disturbed_run(tmp_path, "a", lost_s)
    assert (disturbance(record) is not None) is is_it
    job = make_job({}, directory=tmp_path / "a", fingerprint="a")
    assert OnDisturbance("rerun").runs_again(job) is is_it
    assert not OnDisturbance("mark").runs_again(job)
    other_code = make_job({}, directory=tmp_path / "a", fingerprint="a", code_fingerprint="x")
    assert not OnDisturbance("rerun").runs_again(other_code)


@pytest.mark.parametrize(
    ("lost_s", "status", "kept"),
    [(1.0, "completed", "new"), (5.0, "completed", "earlier"), (0.0, "running", "earlier")],
)
def test_of_two_runs_that_were_left_one_is_kept(
    tmp_path: Path, lost_s: float, status: Any, kept: str
) -> None:
    """Whatever killed the launcher between a run's end and the choice, or in the middle of it."""
    make_disturbed_run(tmp_path, "a", 4.0, command="earlier")
    set_aside(tmp_path / "a")
    make_disturbed_run(tmp_path, "a", lost_s, command="new", status=status)
    settle_all(tmp_path)
    assert RunRecord.read(tmp_path / "a").command == kept
    assert not (tmp_path / EARLIER).exists()
    settle(tmp_path / "a")
    assert RunRecord.read(tmp_path / "a").command == kept


def test_half_removed_runs_are_settled(tmp_path: Path) -> None:
    """The one that was on its way out goes; what is not there is not missed."""
    make_disturbed_run(tmp_path, "a", 4.0, command="earlier")
    set_aside(tmp_path / "a")
    settle_all(tmp_path)  # the new one had not begun, or was removed
    assert RunRecord.read(tmp_path / "a").command == "earlier"
    set_aside(tmp_path / "a")
    make_disturbed_run(tmp_path, "a", 0.0, command="new")
    (tmp_path / EARLIER / "a" / "train.log").touch()
    (tmp_path / EARLIER / "a" / "record.json").unlink()
    settle_all(tmp_path)
    assert RunRecord.read(tmp_path / "a").command == "new"
    assert not (tmp_path / EARLIER).exists()
    shutil.rmtree(tmp_path / "a")
    assert settle(tmp_path / "a") is None
