"""Runs jobs, one at a time or one on each GPU, and sees each to the end of its record."""

import logging
import shlex
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpml.errors import UserError
from hpml.formatting import counted
from hpml.records.run_record import FILE_NAME, RunRecord, Status, now
from hpml.sweep.cost_model import CostModel
from hpml.sweep.job_process import LOG, JobProcess
from hpml.sweep.jobs import Job
from hpml.sweep.ledger import clear_directory
from hpml.sweep.quiet_machine import QuietMachine
from hpml.sweep.reruns import WAIT, OnDisturbance, disturbance, set_aside, settle
from hpml.system.signals import RunInterrupted, signals_held

log = logging.getLogger("hpml")

POLL_S = 0.05
# For an interrupted job to end in order; for a hanging one to say where it hangs.
GRACE_S = 60.0
LAST_WORDS_S = 5.0


@dataclass(frozen=True)
class HowToRun:
    """How a sweep's jobs run, whichever they are."""

    command: Callable[[Job], list[str]]
    config: Callable[[Job], dict[str, Any]]  # resolved
    slots: Sequence[Mapping[str, str]]  # the environment of each job that runs at a time
    timeout_s: float | None
    fail_fast: bool
    on_disturbance: OnDisturbance = field(default_factory=OnDisturbance)


@dataclass
class _Running:
    job: Job
    process: JobProcess
    slot: Mapping[str, str]
    started_at: str
    oom_kills: int
    again: bool  # what it has left before is complete, and set aside
    waited: dict[str, Any]  # as QuietMachine gives it; empty where it was not asked


class JobRunner(ABC):
    """Runs jobs; `records` holds how each has ended, `failed` those that did not complete."""

    def __init__(self, how: HowToRun) -> None:
        self.records: dict[Job, RunRecord] = {}
        self.failed: list[Job] = []
        self._how = how

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> None:
        """Returns when all have ended. Raises RunInterrupted after a signal."""


class Runner(JobRunner):
    """Runs jobs on this machine, in their order; `done` of the sweep's jobs need not run.

    Where `how` says so, each waits for a quiet machine, which `quiet` looks at, or a disturbed one
    runs again after the others. What was done is the record's `disturbance`: {policy, waited_s,
    was_quiet}, or {policy, reruns, lost_shares, kept}, the share of its training that each run
    lost, None of one that failed, and which of them the record is of.
    """

    def __init__(
        self, how: HowToRun, cost_model: CostModel, done: int, quiet: QuietMachine | None = None
    ) -> None:
        super().__init__(how)
        self._quiet = quiet or QuietMachine(how.on_disturbance.max_wait_s)
        self._waiting: deque[Job] = deque()
        self._cost_model = cost_model
        self._done = done
        self._free = list(how.slots)
        self._running: list[_Running] = []

    def run(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)
        self._total = self._done + len(jobs)
        try:
            while self._waiting or self._running:
                while self._waiting and self._free and (waited := self._may_start()) is not None:
                    with signals_held():
                        self._start_next(waited)
                time.sleep(POLL_S)
                with signals_held():
                    for running in list(self._running):
                        self._look(running)
                if self.failed and self._how.fail_fast:
                    self._end_all(signal.SIGTERM)
                    if self._waiting:
                        left = counted(len(self._waiting), "job")
                        log.error(f"sweep.fail_fast=true: {left} not started")
                    return
        except RunInterrupted as interrupted:
            self._end_all(interrupted.signal_number)
            raise
        finally:  # after an error of our own
            for running in self._running:
                running.process.clear()

    def _may_start(self) -> dict[str, Any] | None:
        """What the next job has waited for; None where it has to wait still."""
        return self._quiet.may_start() if self._how.on_disturbance.policy == WAIT else {}

    def _start_next(self, waited: dict[str, Any]) -> None:
        left = self._cost_model.in_words(self._waiting, len(self._how.slots))
        to_come = "" if left is None else f"; {left} to come"
        number, job = self._total - len(self._waiting) + 1, self._waiting.popleft()
        again = self._how.on_disturbance.runs_again(job)
        name = f"{job.name}, again" if again else job.name
        log.info(f"\njob {number} of {self._total}: {name}{to_come}")
        self._start(job, again, waited)

    def _start(self, job: Job, again: bool, waited: dict[str, Any]) -> None:
        slot = self._free[0]
        # a crash and a hang then show where in Python they are
        environment = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **slot}
        try:
            if again:
                set_aside(job.directory)
            clear_directory(job.directory, self._how.config(job).get("resume"))
            shown = len(self._how.slots) == 1
            process = JobProcess(self._how.command(job), job.directory, shown, environment)
        except (OSError, UserError) as error:  # it has no place for a record, but the others do
            settle(job.directory)
            self.failed.append(job)
            log.error(f"failed: {job.name}: {error}")  # noqa: TRY400
            return
        self._free.pop(0)
        self._running.append(_Running(job, process, slot, now(), _oom_kills(), again, waited))

    def _look(self, running: _Running) -> None:
        process, timeout_s = running.process, self._how.timeout_s
        exit_code = process.poll()
        if exit_code is not None:
            self._conclude(running, _cause(exit_code, running.oom_kills))
        elif timeout_s is not None and process.seconds > timeout_s:
            process.send(signal.SIGABRT, to_all=False)
            _wait_for([running], LAST_WORDS_S)
            message = f"took longer than sweep.timeout_s={timeout_s:g}"
            self._conclude(running, {"type": "Timeout", "message": message})

    def _end_all(self, number: int) -> None:
        for running in self._running:
            # before it has a record it would answer Ctrl-C with a traceback
            has_begun = (running.job.directory / FILE_NAME).exists()
            running.process.send(number if has_begun else signal.SIGTERM)
        if self._running:
            names = ", ".join(running.job.name for running in self._running)
            log.info(f"ending {names}, within {GRACE_S:g} s; Ctrl-C ends at once")
        _wait_for(self._running, GRACE_S)
        name = signal.Signals(number).name
        for running in list(self._running):
            self._conclude(running, {"type": "Interrupted", "message": name}, "interrupted")

    def _conclude(
        self, running: _Running, cause: dict[str, str], status: Status = "failed"
    ) -> None:
        """Clears up after a job, and completes its record where the job could not."""
        job, process, seconds = running.job, running.process, running.process.seconds
        process.clear()
        self._running.remove(running)
        self._free.append(running.slot)
        record = RunRecord.read_if_any(job.directory)
        if record is None:
            record = record_of(job, self._how, running.started_at, socket.gethostname())
        if record.status == "running":
            unknown = {"type": "SystemExit", "message": "ended before it was complete"}
            record.status, record.error, record.wall_s = status, cause or unknown, seconds
        if running.waited:
            record.disturbance = {"policy": WAIT} | running.waited
        completed = record.status == "completed"
        if not completed:
            record.error = (record.error or cause) | {"log_end": process.tail}
        if not completed or running.waited:
            with suppress(OSError):
                record.write_last(job.directory)
        self.records[job] = record
        if completed:
            self._cost_model.learn(job.directory, record, job, seconds)
            if cause and status == "failed":
                log.warning(f"{job.name}: complete, but then {cause['message']}")
            elif len(self._how.slots) > 1:
                log.info(f"completed: {job.name} in {seconds:.0f} s")
        elif running.again:
            log.warning(f"{job.name}: not complete, {record.cause}; its earlier run is kept")
        elif "failed" in (status, record.status):
            self.failed.append(job)
            log.error(f"{record.status}: {job.name}: {record.cause}; see {job.directory / LOG}")
        self._run_again_if_disturbed(running, status)

    def _run_again_if_disturbed(self, running: _Running, status: Status) -> None:
        """Keeps the least disturbed of a job's runs; it waits for another where that is bad."""
        job = running.job
        if running.again:
            self.records[job] = settle(job.directory) or self.records[job]
        if status == "interrupted" or not self._how.on_disturbance.runs_again(job):
            return
        if (seen := disturbance(self.records[job])) is not None:
            log.warning(f"{job.name}: {seen.in_words('it')}; it runs again")
        self._waiting.append(job)
        self._total += 1


def record_of(job: Job, how: HowToRun, started_at: str, host: str | None = None) -> RunRecord:
    """A record for a job that did not come to begin one."""
    return RunRecord(
        started_at=started_at,
        fingerprint=job.fingerprint,
        code_fingerprint=job.code_fingerprint,
        command=shlex.join(how.command(job)),
        overrides=list(job.overrides),
        config=how.config(job),
        environment={"host": host},
    )


def _wait_for(running: Sequence[_Running], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(each.process.poll() is None for each in running):
        time.sleep(POLL_S)


def _cause(exit_code: int, oom_kills_before: int) -> dict[str, str]:
    """What is known of a death from the outside; nothing of an end in order."""
    memory = "; the system was out of memory" if _oom_kills() > oom_kills_before else ""
    if exit_code < 0:
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-exit_code, f"SIG{-exit_code}")  # a real-time signal has none
        words = "segmentation fault (SIGSEGV)" if name == "SIGSEGV" else f"killed by {name}"
        return {"type": name, "message": words + memory}
    if exit_code == 0:
        return {}
    return {"type": "SystemExit", "message": f"ended with exit code {exit_code}{memory}"}


def _oom_kills() -> int:
    """How many processes Linux has killed so far for want of memory; 0 where it does not say."""
    with suppress(OSError):
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    return 0
