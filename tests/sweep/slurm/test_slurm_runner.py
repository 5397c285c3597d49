"""Sweeps on a cluster whose queue is made up; the long suite has one that is real."""

import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import stress
from helpers.programs import run_program
from helpers.records import make_run
from helpers.sweeps import contents, make_disturbed_run, make_job

from hpml.errors import RunFailedError, UserError
from hpml.records.run_record import RunRecord
from hpml.sweep.reruns import OnDisturbance, set_aside
from hpml.sweep.runner import HowToRun
from hpml.sweep.slurm import job_states, runner
from hpml.sweep.slurm.job_states import queued
from hpml.sweep.slurm.runner import ClusterRunner, OnNode
from hpml.sweep.slurm.submission import check_parameters
from hpml.system.signals import RunInterrupted, ended_by_signals, process_signals

PARAMETERS = {"nodes": 1, "tasks_per_node": 1, "timeout_min": 60, "array_parallelism": 4}
PARAMETERS |= {"max_num_timeout": 3, "signal_delay_s": 120}
Run = Callable[..., Any]


@dataclass
class Queue:
    """Answers for SLURM: each asking is a step of `states`."""

    states: list[str]
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def submit(self, calls: Sequence[OnNode]) -> list[str]:
        self.submitted += [call.job.name for call in calls]
        return [f"7_{number}" for number in range(len(calls))]

    def answer(self, command: Sequence[str]) -> str | None:
        if command[0] == "squeue":
            return self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if command[0] == "scancel":
            self.cancelled += command[1:]
        return "JobId=7 JobState=NODE_FAIL Reason=None"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs jobs of these names while the queue goes through these states."""

    def go(
        names: Sequence[str], *states: str, fail_fast: bool = False, policy: str = "mark"
    ) -> Any:
        cluster_queue = Queue(list(states))
        for module in (runner, job_states):
            monkeypatch.setattr(module, "answer_of", cluster_queue.answer)
            monkeypatch.setattr(module, "POLL_S", 0.0)
        monkeypatch.setattr(runner, "SETTLE_S", 0.0)
        how = HowToRun(lambda job: ["train", job.name], lambda job: {}, [{}], None, fail_fast)
        how = replace(how, on_disturbance=OnDisturbance(policy))
        made = ClusterRunner(how, cluster_queue.submit, tmp_path)
        made.run([make_job({}, name=n, directory=tmp_path / n, fingerprint=n) for n in names])
        return made, cluster_queue

    return go


def test_a_queue_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After half an hour of silence the sweep ends; a shorter one is none."""
    now_s, answers = [0.0], [None] * 300 + ["7_0 RUNNING None"]
    monkeypatch.setattr(job_states.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(job_states.time, "sleep", lambda s: now_s.__setitem__(0, now_s[0] + s))
    monkeypatch.setattr(job_states, "answer_of", lambda command: answers.pop(0))
    assert queued({"7_0": "a"}) == {"7_0": "running"}
    assert now_s == [300 * 5.0]
    monkeypatch.setattr(job_states, "answer_of", lambda command: None)
    said = "not answered for 30 minutes; SLURM's jobs 7 go on; the same command waits for them"
    with pytest.raises(RunFailedError, match=said):
        queued({"7_0": "a", "7_1": "b"})
    assert now_s == [300 * 5.0 + 1805]
    assert queued({"7_0": "a"}, insists=False) == {}


def test_a_job_that_left_without_a_word_has_failed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for; those that completed have; who is still there is waited for."""
    real = Queue.submit

    def submit(queue: Queue, calls: Sequence[OnNode]) -> list[str]:
        make_run(tmp_path, "seed=0", fingerprint="seed=0")
        make_run(tmp_path, "seed=2", status="running", epochs=1)
        return real(queue, calls)

    monkeypatch.setattr(Queue, "submit", submit)
    all_there = "7_0 RUNNING None\n7_1 PENDING Priority\n7_2 RUNNING None\n"
    runner, queue = run(["seed=0", "seed=1", "seed=2"], all_there, "7_0 RUNNING None\n", "")
    assert queue.submitted == ["seed=0", "seed=1", "seed=2"]
    causes = {job.name: (record.status, record.cause) for job, record in runner.records.items()}
    failed = ("failed", "ended by SLURM, or with its node (node_fail)")
    assert causes == {"seed=0": ("completed", ""), "seed=1": failed, "seed=2": failed}
    assert sorted(job.name for job in runner.failed) == ["seed=1", "seed=2"]
    assert json.loads((tmp_path / "seed=1" / "record.json").read_text())["status"] == "failed"


def test_an_old_record_is_not_taken_for_the_new_one(run: Run, tmp_path: Path) -> None:
    """A job that was to run again, and was killed before it began, has not completed."""
    make_run(tmp_path, "seed=0")
    runner, _ = run(["seed=0"], "7_0 PENDING None\n", "")
    assert [job.name for job in runner.failed] == ["seed=0"]


def note(folder: Path, submitted: dict[str, str]) -> None:
    """Keeps numbers of jobs as an earlier command has."""
    (folder / ".slurm").mkdir()
    (folder / ".slurm" / "jobs.json").write_text(json.dumps(submitted))


def test_what_is_in_the_queue_is_not_submitted_again(run: Run, tmp_path: Path) -> None:
    """Nor is it forgotten where another command of the same sweep submits others."""
    make_run(tmp_path, "seed=0")
    there = {"5_0": "seed=0", "5_1": "seed=1"}
    note(tmp_path, there | {"4_0": "gone"})
    _, queue = run(["seed=0", "seed=2"], "5_0 RUNNING None\n5_1 RUNNING None\n", "")
    assert queue.submitted == ["seed=2"]
    kept = json.loads((tmp_path / ".slurm" / "jobs.json").read_text())
    assert kept == there | {"7_0": "seed=2"}


def test_what_has_completed_meanwhile_is_not_submitted_again(run: Run, tmp_path: Path) -> None:
    """It left the queue after the ledger was read, and before the queue was."""
    make_run(tmp_path, "seed=0")
    note(tmp_path, {"6_0": "seed=0"})
    runner, queue = run(["seed=0", "seed=1"], "7_0 RUNNING None\n", "")
    assert queue.submitted == ["seed=1"]
    assert [job.name for job in runner.records] == ["seed=0", "seed=1"]
    assert [job.name for job in runner.failed] == ["seed=1"]


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_disturbed_job_runs_again_on_a_node(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """Where its node is lost meanwhile, before or after it began, the earlier run is kept."""
    make_disturbed_run(tmp_path, "seed=0", 4.0, fingerprint="seed=0")
    note(tmp_path, {"6_0": "seed=0"})
    before = contents(tmp_path / "seed=0")
    real = Queue.submit

    def submit(queue: Queue, calls: Sequence[OnNode]) -> list[str]:
        if is_killed:
            set_aside(tmp_path / "seed=0")
            make_run(tmp_path, "seed=0", status="running", epochs=1)
        return real(queue, calls)

    monkeypatch.setattr(Queue, "submit", submit)
    runner, queue = run(["seed=0"], "7_0 RUNNING None\n", "", policy="rerun")
    assert queue.submitted == ["seed=0"]
    assert [record.status for record in runner.records.values()] == ["completed"]
    assert not runner.failed
    assert contents(tmp_path / "seed=0") == before


def test_a_node_runs_a_disturbed_job_again(tmp_path: Path) -> None:
    """And settles first what another node has left, which was killed."""
    make_disturbed_run(tmp_path / "quiet", "a", 0.0, fingerprint="a")
    make_disturbed_run(tmp_path, "a", 4.0, fingerprint="a")
    set_aside(tmp_path / "a")
    copy = f"import shutil; shutil.copytree({str(tmp_path / 'quiet/a')!r}, {str(tmp_path / 'a')!r}"
    command = [sys.executable, "-c", f"{copy}, dirs_exist_ok=True)"]
    how = HowToRun(lambda job: command, lambda job: {}, [{}], None, False)
    job = make_job({}, name="a", directory=tmp_path / "a", fingerprint="a")
    OnNode(job, replace(how, on_disturbance=OnDisturbance("rerun")))()
    record = RunRecord.read(tmp_path / "a")
    assert (record.disturbance or {})["lost_shares"] == [0.4, 0.0]


def test_the_first_failure_may_cancel_the_others(run: Run) -> None:
    """They are waited for nevertheless, and concluded."""
    first, second = "7_0 RUNNING None\n", "7_1 RUNNING None\n"
    states = (first + second, second, second, "")
    runner, queue = run(["seed=0", "seed=1"], *states, fail_fast=True)
    assert queue.cancelled == ["7_1"]
    assert len(runner.failed) == 2


def test_a_reason_that_needs_help_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that no node can run waits for ever."""
    lines = "7_0 PENDING PartitionConfig\n7_1 PENDING Resources\n"
    monkeypatch.setattr(job_states, "answer_of", lambda command: lines)
    states = queued({"7_0": "", "7_1": "", "8": ""})
    assert states == {"7_0": "pending (PartitionConfig)", "7_1": "pending"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("nodes", 2), ("timeout_min", 0), ("signal_delay_s", 3600), ("array_parallelism", 0)],
)
def test_parameters_that_no_sweep_can_have(key: str, value: int) -> None:
    """The line names the key and the value."""
    check_parameters(PARAMETERS)
    with pytest.raises(UserError, match=rf"hydra\.launcher\.{key}={value}: "):
        check_parameters(PARAMETERS | {key: value})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("swept", "message"),
    [
        ("seed=0,1", "hydra/launcher=slurm: Could not detect"),
        stress("data.batch_size=0,1", "data.batch_size=0: "),
    ],
)
def test_a_cluster_that_is_not_there(tmp_path: Path, swept: str, message: str) -> None:
    """One line, exit code 2; what is out of range comes before."""
    words = ["-m", "hpml.train", "-m", "hydra/launcher=slurm", "sweep.name=s", "data=synthetic"]
    done = run_program([*words, swept], tmp_path, PATH=str(tmp_path), exit_code=2)
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")


def test_a_warning_after_another_signal_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM preempts with SIGTERM, and warns besides; whose job it is hears of it at the end."""
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    heard: list[int] = []
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    before = {number: signal.getsignal(number) for number in signals}
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))

    def both() -> None:
        with ended_by_signals():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGUSR2)  # which is noted, and ends nothing

    try:
        with pytest.raises(RunInterrupted) as raised:
            both()
        assert raised.value.signal_number == signal.SIGTERM
        assert process_signals.warning == signal.SIGUSR2
        assert heard == [signal.SIGUSR2]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
