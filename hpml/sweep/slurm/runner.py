"""Runs jobs on a SLURM cluster, as an array: each on a node, as one's own machine would run it."""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpml.formatting import counted
from hpml.records.run_record import FILE_NAME, RunRecord, now
from hpml.sweep.cost_model import CostModel
from hpml.sweep.job_process import LOG, TAIL_LINES
from hpml.sweep.jobs import Job
from hpml.sweep.reruns import RERUN, settle
from hpml.sweep.runner import HowToRun, JobRunner, Runner, record_of
from hpml.sweep.slurm.job_states import POLL_S, answer_of, arrays, queued, state
from hpml.system import exit_codes
from hpml.system.files import read_json, write_whole
from hpml.system.signals import RunInterrupted, ended_by_signals, signals_held

log = logging.getLogger("hpml")

SUBMITTED = ".slurm/jobs.json"
# For the last write of a node to be seen over a network's file system.
SETTLE_S = 20.0


class OnNode:
    """What submitit calls on a node: one job, as a sweep on one's own machine runs it.

    Called again after the job was put back into the queue, when it resumes.
    """

    def __init__(self, job: Job, how: HowToRun) -> None:
        command, config = how.command(job), how.config(job)
        self.job = job
        self.how = replace(how, command=lambda _: command, config=lambda _: config)

    def __call__(self) -> None:
        """Ends the process with an exit code that is not 0 where the job did not complete."""
        settle(self.job.directory)  # what a node has left that was killed
        # complete, and was put back into the queue all the same
        if _completed(self.job) and not self.how.on_disturbance.runs_again(self.job):
            return
        runner = Runner(self.how, CostModel(), 0)
        try:
            with ended_by_signals():
                runner.run([self.job])
        except RunInterrupted as interrupted:
            sys.exit(exit_codes.of_signal(interrupted.signal_number))
        if runner.failed:
            sys.exit(exit_codes.FAILED)

    def checkpoint(self) -> Any:
        """What submitit queues again; None for a job that completed after its warning."""
        from submitit.helpers import DelayedSubmission

        return None if _completed(self.job) else DelayedSubmission(self)


class ClusterRunner(JobRunner):
    """Submits jobs and waits for their end.

    SLURM's queue shows which jobs have ended, so that none is waited for that was killed, and their
    records how they ended. Jobs that an earlier launcher of this sweep has submitted, and that are
    in the queue still, are waited for and not submitted again.
    """

    def __init__(
        self, how: HowToRun, submit: Callable[[Sequence[OnNode]], list[str]], directory: Path
    ) -> None:
        super().__init__(how)
        self._submit = submit
        self._submitted = directory / SUBMITTED
        self._earlier: dict[Job, int | None] = {}  # when each job's record was last written before

    def run(self, jobs: Sequence[Job]) -> None:
        """Returns when none is in the queue any more; after RunInterrupted they stay there."""
        if not jobs:
            return
        submitted = read_json(self._submitted) or {}
        in_queue = {number: submitted[number] for number in queued(submitted)}
        by_name = {job.directory.name: job for job in jobs}
        by_number = {n: by_name[name] for n, name in in_queue.items() if name in by_name}
        others = [job for job in jobs if job not in by_number.values()]
        # one may have completed, and left the queue, since the ledger was read
        gone = [job for job in others if job.directory.name in submitted.values()]
        gone = [job for job in gone if not self._how.on_disturbance.runs_again(job)]
        self.records = {job: record for job in gone if (record := _completed(job))}
        others = [job for job in others if job not in self.records]
        if by_number:
            log.info(f"in the queue already: {counted(len(by_number), 'job')}")
        if others:
            with signals_held():  # or they would be in the queue, and not known to be
                self._earlier = {job: _written_ns(job) for job in others}
                numbers = self._submit([OnNode(job, self._how) for job in others])
                by_number |= dict(zip(numbers, others, strict=True))
                in_queue |= {number: job.directory.name for number, job in by_number.items()}
                self._submitted.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._submitted, json.dumps(in_queue))
            log.info(f"submitted: {counted(len(others), 'job')}, as SLURM's {arrays(numbers)}")
        try:
            self._wait_for(by_number)
        except RunInterrupted:
            left = queued(by_number, insists=False)
            if left:
                log.info(
                    f"{counted(len(left), 'job')} still in the queue: scancel {arrays(left)} ends "
                    "them; the same command waits for them again"
                )
            raise

    def _wait_for(self, by_number: Mapping[str, Job]) -> None:
        waiting, left_at, line, cancelled = dict(by_number), dict[str, float](), "", False
        while waiting:
            states = queued(waiting)
            for number, job in list(waiting.items()):
                if number in states:
                    left_at.pop(number, None)  # it was put back
                    continue
                record, now_s = self._record(job), time.monotonic()
                has_ended = record is not None and record.status != "running"
                if has_ended or now_s - left_at.setdefault(number, now_s) > SETTLE_S:
                    del waiting[number]
                    self._conclude(job, number)
            if self.failed and self._how.fail_fast and waiting and not cancelled:
                cancelled = True
                log.error(f"sweep.fail_fast=true: {counted(len(waiting), 'job')} cancelled")
                answer_of(["scancel", *waiting])
            counts = Counter(states.values())
            words = [f"{count} {state}" for state, count in sorted(counts.items())]
            before, line = line, ", ".join([f"{len(by_number) - len(waiting)} ended", *words])
            if line != before:
                log.info(f"{len(by_number)} submitted: {line}")
            if waiting:
                time.sleep(POLL_S)

    def _record(self, job: Job) -> RunRecord | None:
        """What the job has written; not what was there before it."""
        record = RunRecord.read_if_any(job.directory)
        return record if _written_ns(job) != self._earlier.get(job) else None

    def _conclude(self, job: Job, number: str) -> None:
        """Completes the record of a job that was killed together with its node's program."""
        settle(job.directory)
        record = self._record(job)
        if record is None and self._how.on_disturbance.policy == RERUN:
            record = _completed(job)  # and was not run again: that is lost with its node
        record = record or record_of(job, self._how, started_at=now())
        if record.status == "running":
            record.status = "failed"
            why = f"ended by SLURM, or with its node ({state(number)})"
            record.error = {"type": "SLURM", "message": why, "log_end": _log_end(job.directory)}
            with suppress(OSError):
                job.directory.mkdir(parents=True, exist_ok=True)
                record.write_last(job.directory)
        self.records[job] = record
        if record.status == "completed":
            log.info(f"completed: {job.name}")
            return
        self.failed.append(job)
        see = f"; see {job.directory / LOG}" if (job.directory / LOG).exists() else ""
        log.error(f"{record.status}: {job.name}: {record.cause}{see}")


def _completed(job: Job) -> RunRecord | None:
    """The record of just this job, if it has completed."""
    record = RunRecord.read_if_any(job.directory)
    if record is None or record.status != "completed":
        return None
    same = record.fingerprint == job.fingerprint
    return record if same and record.code_fingerprint == job.code_fingerprint else None


def _written_ns(job: Job) -> int | None:
    with suppress(OSError):
        return (job.directory / FILE_NAME).stat().st_mtime_ns
    return None


def _log_end(directory: Path) -> str:
    with suppress(OSError):
        lines = (directory / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])
    return ""
