"""What a sweep has done already, read from the records in its directory."""

import itertools
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpml.checkpointing.resume_choice import NEVER, resume_checkpoints
from hpml.config.fingerprint import difference, identifying, is_left_out, key_of
from hpml.config.lab_advice import advised
from hpml.errors import UserError
from hpml.records.run_record import FILE_NAME, RunRecord
from hpml.sweep.job_process import LOG
from hpml.sweep.jobs import Job

# What their options change may all be left out of the fingerprint.
GROUPS = ("callbacks", "experiment")
ANOTHER_NAME = "give another sweep.name"
OnCodeChange = Literal["rerun", "keep", "error"]


@dataclass(frozen=True)
class Entry:
    """What the ledger keeps of a record; a sweep may have ten thousand."""

    directory: Path
    is_completed: bool
    code_fingerprint: str


class Ledger:
    """The jobs that a sweep's directory holds, by their identity.

    That is the fingerprint of the configuration, with the values of those keys, of `swept`, that
    are not in it.
    """

    def __init__(self, directory: Path, swept: Iterable[str] = ()) -> None:
        self.directory = directory
        self._watched = [key for key in swept if is_left_out(key) or key in GROUPS]
        self._entries: dict[str, Entry] = {}
        for file in sorted(directory.glob(f"*/{FILE_NAME}")):
            if (record := RunRecord.read_if_any(file)) is None:
                continue
            identity = self.identity(record.fingerprint, record.overrides)
            if identity not in self._entries or not self._entries[identity].is_completed:
                is_completed = record.status == "completed"
                self._entries[identity] = Entry(file.parent, is_completed, record.code_fingerprint)

    def identity(self, fingerprint: str, overrides: Iterable[str]) -> str:
        """What tells a job from all others of the sweep."""
        watched = sorted(word for word in overrides if key_of(word) in self._watched)
        return " ".join([fingerprint, *watched])

    def directories(self, identities: Mapping[str, str]) -> dict[str, Path]:
        """A directory for each job, given its name by its identity; no two get the same.

        One that is in the ledger keeps its own, under whatever name; another one that would take
        that gets the next free name.
        """
        known = identities.keys() & self._entries
        directories = {identity: self._entries[identity].directory for identity in known}
        taken = set(directories.values())
        for identity, name in identities.items():
            if identity not in directories:
                path, numbers = self.directory / name, itertools.count(2)
                while path in taken:
                    path = self.directory / f"{name}-{next(numbers)}"
                directories[identity] = path
                taken.add(path)
        return directories

    def completed(
        self,
        jobs: Iterable[Job],
        on_code_change: OnCodeChange,
        config_of: Callable[[Job], dict[str, Any]],
    ) -> dict[Job, Path]:
        """The directories of those jobs that need not run again.

        Raises UserError where they ran other code and nothing is said about that, and where the
        folder of a job holds another one that is complete.
        """
        done: dict[Job, Path] = {}
        changed: list[Job] = []
        for job in jobs:
            entry = self._entries.get(self.identity(job.fingerprint, job.overrides))
            if entry is None or not entry.is_completed:
                self._refuse_other(job, config_of)
            elif entry.code_fingerprint == job.code_fingerprint or on_code_change == "keep":
                done[job] = entry.directory
            else:
                changed.append(job)
        if changed and on_code_change == "error":
            raise UserError(
                f"{len(changed)} of {len(changed) + len(done)} completed jobs ran other code than "
                "there is now: give sweep.on_code_change=keep to keep them, rerun to run them "
                "again, or another name"
            )
        return done

    def _refuse_other(self, job: Job, config_of: Callable[[Job], dict[str, Any]]) -> None:
        other = RunRecord.read_if_any(job.directory)
        if other is None or other.status != "completed":
            return
        own = self.identity(job.fingerprint, job.overrides)
        if self.identity(other.fingerprint, other.overrides) != own:
            settings = difference(identifying(other.config), identifying(config_of(job)))
            differs = f" with {settings}" if settings else ""
            raise UserError(
                f"{job.directory} holds another completed job{differs}: {advised(ANOTHER_NAME)}"
            )


def check_directory(directory: Path) -> None:
    """Raises UserError where a job's directory cannot be, for something else is there."""
    if directory.is_dir():
        if not _is_a_jobs(directory) and any(directory.iterdir()):
            raise UserError(f"{directory}: exists, and is no job's; {advised(ANOTHER_NAME)}")
    elif directory.exists():
        raise UserError(f"{directory}: is a file; {advised(ANOTHER_NAME)}")


def clear_directory(directory: Path, resume: str | None = NEVER) -> None:
    """An empty directory for a job; what an earlier one has left there goes.

    If it has left a resume checkpoint, and the job may resume, only its record goes.

    This may be cut short, too: its record goes first, and last what says that it is a job's.
    Raises what check_directory raises, and OSError.
    """
    check_directory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if not _is_a_jobs(directory):
        return
    (directory / LOG).touch()
    (directory / FILE_NAME).unlink(missing_ok=True)
    if resume != NEVER and resume_checkpoints(directory):
        return
    for child in directory.iterdir():
        if child.name == LOG:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    (directory / LOG).unlink()


def _is_a_jobs(directory: Path) -> bool:
    return any((directory / name).exists() for name in (FILE_NAME, LOG, ".hydra"))
