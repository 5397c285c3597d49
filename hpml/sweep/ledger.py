"""What a sweep has done already, read from the records in its directory."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpml.errors import UserError
from hpml.fingerprint import identifying
from hpml.records import FILE_NAME, RecordError, RunRecord, read_records
from hpml.sweep.jobs import Job
from hpml.sweep.process import LOG

OnCodeChange = Literal["rerun", "keep", "error"]


@dataclass(frozen=True)
class Entry:
    """What the ledger keeps of a record; a sweep may have ten thousand."""

    directory: Path
    status: str
    code_fingerprint: str
    wall_s: float | None


class Ledger:
    """The jobs that a sweep's directory holds, by the fingerprint of their configuration."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._entries: dict[str, Entry] = {}
        for folder, record in read_records([directory]):
            if isinstance(record, RecordError):
                continue
            entry = Entry(folder, record.status, record.code_fingerprint, record.wall_s)
            known = self._entries.get(record.fingerprint)
            if known is None or known.status != "completed":
                self._entries[record.fingerprint] = entry

    def directory_of(self, fingerprint: str, name: str) -> Path:
        """Where a job's files are, or will be: under another name too if it was called so then."""
        entry = self._entries.get(fingerprint)
        return entry.directory if entry is not None else self.directory / name

    def completed(
        self,
        jobs: Iterable[Job],
        on_code_change: OnCodeChange,
        config_of: Callable[[Job], dict[str, Any]],
    ) -> dict[Job, Entry]:
        """Those of the jobs that need not run again.

        Raises UserError where they ran other code and nothing is said about that, and where the
        folder of a job holds another one that is complete.
        """
        done: dict[Job, Entry] = {}
        changed: list[Job] = []
        for job in jobs:
            entry = self._entries.get(job.fingerprint)
            if entry is None or entry.status != "completed":
                _refuse_other(job, config_of)
            elif entry.code_fingerprint == job.code_fingerprint or on_code_change == "keep":
                done[job] = entry
            else:
                changed.append(job)
        if changed and on_code_change == "error":
            raise UserError(
                f"{len(changed)} of {len(changed) + len(done)} completed jobs ran other code than "
                "there is now: give sweep.on_code_change=keep to keep them, rerun to run them "
                "again, or another sweep.name"
            )
        return done


def clear_directory(directory: Path) -> None:
    """An empty directory for a job; what an unfinished one has left there goes.

    Raises UserError where something else lies there.
    """
    if directory.exists():
        ours = any((directory / name).exists() for name in (FILE_NAME, ".hydra", LOG))
        if not ours and any(directory.iterdir()):
            raise UserError(f"{directory}: exists, and is no job's; give another sweep.name")
        shutil.rmtree(directory)
    directory.mkdir(parents=True)


def _refuse_other(job: Job, config_of: Callable[[Job], dict[str, Any]]) -> None:
    try:
        other = RunRecord.read(job.directory)
    except RecordError:
        return
    if other.status == "completed" and other.fingerprint != job.fingerprint:
        before, now = identifying(other.config), identifying(config_of(job))
        keys = [key for key in before | now if before.get(key) != now.get(key)]
        told = [
            f"{key}={json.dumps(before.get(key))} (now {json.dumps(now.get(key))})" for key in keys
        ]
        raise UserError(
            f"{job.directory} holds a completed job with {', '.join(told[:3])}: "
            "give another sweep.name"
        )
