"""Runs of a job that other programs disturbed: which of them run again, and which one is kept."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpml.records.run_record import RunRecord
from hpml.sweep.jobs import Job
from hpml.system.interference import Interference, of_record

# In the sweep's directory: the runs of those jobs that are running again.
EARLIER = ".earlier"
MARK, WAIT, RERUN = "mark", "wait", "rerun"


@dataclass(frozen=True)
class OnDisturbance:
    """What a sweep does about other programs: the keys `sweep.on_disturbance` and its limits."""

    policy: str = MARK
    max_wait_s: float = 600.0
    max_reruns: int = 2

    def runs_again(self, job: Job) -> bool:
        """Whether what the job's directory holds is complete, but disturbed, and not accepted."""
        record = RunRecord.read_if_any(job.directory) if self.policy == RERUN else None
        if record is None or record.fingerprint != job.fingerprint:
            return False
        return record.code_fingerprint == job.code_fingerprint and self.repeats(record)

    def repeats(self, record: RunRecord) -> bool:
        """Whether a run is complete, but disturbed, and has not been made too often."""
        is_disturbed = record.status == "completed" and disturbance(record) is not None
        return self.policy == RERUN and is_disturbed and len(_shares(record)) <= self.max_reruns


def disturbance(record: RunRecord) -> Interference | None:
    """What the training of a run lost to others, where that is so much that it disturbs its times.

    None too where nobody looked, as in records of earlier versions.
    """
    seen = _seen(record)
    return seen if seen is not None and seen.disturbed else None


def set_aside(directory: Path) -> None:
    """Makes room for a job's next run; `settle` has to follow. Raises OSError."""
    aside = _aside(directory)
    aside.parent.mkdir(exist_ok=True)
    directory.rename(aside)


def settle(directory: Path) -> RunRecord | None:
    """Keeps the least disturbed of a job's runs, where one has been set aside; returns its record.

    A run that did not come to its end counts for nothing. What is killed in here is settled by the
    next call: the earlier run goes when the record of the new one is complete, not before.
    """
    aside = _aside(directory)
    if not aside.exists():
        return None
    earlier, new = RunRecord.read_if_any(aside), RunRecord.read_if_any(directory)
    complete = [run for run in (earlier, new) if run is not None and run.status == "completed"]
    kept = min(complete, key=_rank, default=None)
    with suppress(OSError):  # a disk that is full, or was taken away: the next call tries again
        if kept is not None and kept is earlier:
            shutil.rmtree(directory, ignore_errors=True)
            aside.rename(directory)
        if kept and earlier and new and new.status in ("completed", "failed"):
            kept.disturbance = _account(earlier, new, kept is new)
            kept.write_last(directory)
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.rmdir()  # unless others are in it
    return kept


def settle_all(sweep_directory: Path) -> None:
    """Settles what a launcher that was killed has left."""
    for aside in sorted((sweep_directory / EARLIER).glob("*")):
        settle(sweep_directory / aside.name)


def _account(earlier: RunRecord, new: RunRecord, is_new: bool) -> dict[str, Any]:
    """The record's `disturbance`: what each run of the job lost, and which of them it is."""
    shares = [*_shares(earlier), _share(new)]
    reruns = len(shares) - 1
    kept = reruns if is_new else (earlier.disturbance or {}).get("kept", 0)
    return {"policy": RERUN, "reruns": reruns, "lost_shares": shares, "kept": kept}


def _aside(directory: Path) -> Path:
    return directory.parent / EARLIER / directory.name


def _seen(record: RunRecord) -> Interference | None:
    return of_record(epoch.interference for epoch in record.epochs)


def _share(record: RunRecord) -> float | None:
    """The part of its training that a run lost; None where it did not complete."""
    seen = _seen(record) if record.status == "completed" else None
    return None if seen is None else round(seen.share, 4)


def _shares(record: RunRecord) -> list[float | None]:
    """Of all runs of the job so far."""
    shares: list[float | None] | None = (record.disturbance or {}).get("lost_shares")
    return [_share(record)] if shares is None else shares


def _rank(record: RunRecord) -> tuple[bool, float]:
    """Lower is better; a run that nobody looked at tells nothing."""
    seen = _seen(record)
    return (True, float("inf")) if seen is None else (seen.disturbed, seen.share)
