"""Checkpoints from which a run resumes exactly: their files, and which of them fits a run.

A resume checkpoint is one of Lightning's with a part of our own, `hpml_resume`, in plain types: it
loads with `torch.load(..., weights_only=True)`. Its name says after how many batches it was made,
and ends in a checksum of its content, which tells a file that was cut short or damaged.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from hpml.checkpointing import safe_load
from hpml.config.fingerprint import difference
from hpml.errors import UserError
from hpml.records.run_record import FILE_NAME
from hpml.system.environment import SWEPT

log = logging.getLogger("hpml")

FOLDER, KEY = "checkpoints", "hpml_resume"
AUTO, NEVER = "auto", "never"
CONFIGURATION = "configuration"  # among the facts, as `identifying` gives it
KEPT = 2
PATTERN = "resume-*.ckpt"
_NAME = re.compile(r"resume-(\d+)-([0-9a-f]{16})\.ckpt")


class Found(NamedTuple):
    """The checkpoint that a run resumes from, and our own part of it."""

    path: Path
    state: dict[str, Any]


def mode(resume: str | None) -> str:
    """AUTO, NEVER or a path: by default AUTO in a sweep and under SLURM, else NEVER."""
    if resume is not None:
        return str(resume)
    return AUTO if {SWEPT, "SLURM_JOB_ID"} & os.environ.keys() else NEVER


def check(resume: str | None) -> None:
    """Raises UserError where `resume` names nothing that a run could resume from."""
    how = mode(resume)
    if how in (AUTO, NEVER):
        return
    if how.lower() in ("", "auto", "never", "true", "false") or not how.strip():
        raise UserError(f"resume={how}: give auto, never, or the path of a resume checkpoint")
    named = Path(how).expanduser()
    if not named.exists():
        raise UserError(f"resume={how}: there is no such file")
    if not resume_checkpoints(named):
        raise UserError(f"resume={how}: holds no resume checkpoint")


def last_sign_s(directory: Path) -> float | None:
    """When a run last wrote to its record, curves or checkpoints, as `time.time` counts."""
    if not resume_checkpoints(directory):
        return None
    signs = [directory / FILE_NAME, *directory.glob("events.out.*"), *directory.glob(f"{FOLDER}/*")]
    return max((file.stat().st_mtime for file in signs if file.is_file()), default=None)


def resume_checkpoints(directory: Path) -> list[Path]:
    """Those in a run's directory, or in its `checkpoints`, the last one first."""
    directory = directory.resolve()
    if directory.is_file():
        return [directory]
    found = [*(directory / FOLDER).glob(PATTERN), *directory.glob(PATTERN)]
    return sorted(filter(_batches, found), key=_batches, reverse=True)


def remove(directory: Path) -> None:
    """Removes them: what is complete needs none."""
    for checkpoint in resume_checkpoints(directory):
        checkpoint.unlink(missing_ok=True)


def file_name(batches: int, file: Path) -> str:
    """The name of a resume checkpoint, by the batches before it and what is in its file."""
    return f"resume-{batches:010d}-{_checksum(file)}.ckpt"


def choose(
    directory: Path, resume: str | None, facts: dict[str, Any], rank: int = 0
) -> Found | None:
    """The checkpoint to resume from; None where the run begins at its start.

    A damaged one is passed over for the one before it, with a warning that names both. Raises
    UserError where this run cannot resume exactly from the last one; in a sweep that is a warning,
    and the run begins at its start.

    `facts` are what has to be the same, by name, as a checkpoint keeps it for each rank: if one
    resumed and another did not, they would wait for each other without end.
    """
    how = mode(resume)
    if how == NEVER:
        return None
    named = None if how == AUTO else Path(how).expanduser()
    damaged: list[Path] = []
    for checkpoint in resume_checkpoints(named or directory):
        state = _read(checkpoint)
        if state is None:
            damaged.append(checkpoint)
            continue
        if damaged:
            log.warning(f"{_listed(damaged)} damaged; resuming from {checkpoint}")
        why = _differences(state["ranks"], facts, rank)
        if not why:
            return Found(checkpoint, state)
        if named is not None:
            raise UserError(f"resume={how}: {why}; it cannot resume exactly")
        if SWEPT not in os.environ:
            hint = "resume=never begins at the start, in their place"
            raise UserError(f"{checkpoint}: {why}; {hint}")
        log.warning(f"{checkpoint}: {why}; the run begins at its start")
        return None
    if damaged and named is not None:
        raise UserError(f"resume={how}: is no resume checkpoint of hpml ({PATTERN}), or damaged")
    if damaged:
        log.warning(f"{_listed(damaged)} damaged; the run begins at its start")
    return None


def _read(checkpoint: Path) -> dict[str, Any] | None:
    """Our own part of a checkpoint; None for one that is damaged, or another kind of file.

    Raises UserError for one that `safe_load.read` refuses.
    """
    named = _NAME.fullmatch(checkpoint.name)
    try:
        if named is None or named[2] != _checksum(checkpoint):
            return None
        state = safe_load.read(checkpoint, "resume")[KEY]
        state["ranks"][0]["facts"].items()
    except UserError:
        raise
    except Exception:  # there is no end to what a damaged file can raise
        return None
    return state if isinstance(state, dict) else None


def _differences(ranks: list[dict[str, Any]], facts: dict[str, Any], rank: int) -> str:
    """What is not as it was when a checkpoint was made, in words; empty where all is."""
    theirs = ranks[min(rank, len(ranks) - 1)]["facts"]  # how many there are is another question
    words = [
        difference(theirs[name], value) if name == CONFIGURATION else f"another {name}"
        for name, value in facts.items()
        if theirs.get(name) != value
    ]
    return f"was made with {', '.join(words)}" if words else ""


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _batches(checkpoint: Path) -> int:
    named = _NAME.fullmatch(checkpoint.name)
    return int(named[1]) if named else 0


def _listed(damaged: list[Path]) -> str:
    return f"{', '.join(map(str, damaged))} {'is' if len(damaged) == 1 else 'are'}"
