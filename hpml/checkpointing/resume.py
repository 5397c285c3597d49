"""Points from which a run goes on exactly: their files, and which of them fits a run.

A point is a checkpoint of Lightning's with a part of our own, `hpml_resume`, in plain types: it
loads with `torch.load(..., weights_only=True)`. Its name says after how many batches it was made,
and ends in a checksum of its content: a file that was cut short or damaged is told by it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

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


def wanted(resume: str | None) -> str:
    """What `resume` comes to: by default AUTO in a sweep and under SLURM, else NEVER."""
    if resume is not None:
        return str(resume)
    return AUTO if {SWEPT, "SLURM_JOB_ID"} & os.environ.keys() else NEVER


def check(resume: str | None) -> None:
    """Raises UserError where `resume` names nothing that a run could go on from."""
    how = wanted(resume)
    if how in (AUTO, NEVER):
        return
    if how.lower() in ("", "auto", "never", "true", "false") or not how.strip():
        raise UserError(f"resume={how}: give auto, never, or the path of a point")
    named = Path(how).expanduser()
    if not named.exists():
        raise UserError(f"resume={how}: there is no such file")
    if not points(named):
        raise UserError(f"resume={how}: holds no point to go on from")


def last_sign_s(directory: Path) -> float | None:
    """When a run last wrote to its record, curves or checkpoints, as `time.time` counts."""
    if not points(directory):
        return None
    signs = [directory / FILE_NAME, *directory.glob("events.out.*")]
    signs += [file for file in (directory / FOLDER).iterdir() if file.is_file()]
    return max((file.stat().st_mtime for file in signs if file.exists()), default=None)


def points(directory: Path) -> list[Path]:
    """The points in a run's directory, or in its `checkpoints`, the last one first."""
    directory = directory.resolve()
    if directory.is_file():
        return [directory]
    found = [*(directory / FOLDER).glob(PATTERN), *directory.glob(PATTERN)]
    return sorted(filter(_batches, found), key=_batches, reverse=True)


def remove(directory: Path) -> None:
    """Removes the points in a run's directory: what is complete needs none."""
    for point in points(directory):
        point.unlink(missing_ok=True)


def name_of(batches: int, file: Path) -> str:
    """The name of a point, by the batches before it and what is in its file."""
    return f"resume-{batches:010d}-{_checksum(file)}.ckpt"


def choose(
    directory: Path, resume: str | None, facts: dict[str, Any], rank: int = 0
) -> tuple[Path, dict[str, Any]] | None:
    """The point to go on from, with its own part; None where the run begins at its start.

    A damaged point is passed over for the one before it, with a warning that names both. Raises
    UserError where this run cannot go on exactly from the last one; in a sweep that is a warning,
    and the run begins at its start.

    Args:
        directory: of the run.
        resume: as configured.
        facts: what has to be the same, by name, as a point keeps it for each rank: if one of them
            went on and another did not, they would wait for each other without end.
        rank: of this process.
    """
    how = wanted(resume)
    if how == NEVER:
        return None
    named = None if how == AUTO else Path(how).expanduser()
    every = points(directory if named is None else named)
    damaged: list[Path] = []
    for point in every:
        state = _read(point)
        if state is None:
            damaged.append(point)
            continue
        if damaged:
            log.warning(f"{_listed(damaged)} damaged; going on from {point}")
        why = _differences(state["ranks"], facts, rank)
        if why:
            if named is not None:
                raise UserError(f"resume={how}: {why}; it cannot go on exactly")
            if SWEPT not in os.environ:
                begins = "resume=never begins at the start, in their place"
                raise UserError(f"{point}: {why}; {begins}")
            log.warning(f"{point}: {why}; the run begins at its start")
            return None
        return point, state
    if damaged and named is not None:
        raise UserError(f"resume={how}: is no point of hpml ({PATTERN}), or damaged")
    if damaged:
        log.warning(f"{_listed(damaged)} damaged; the run begins at its start")
    return None


def _read(point: Path) -> dict[str, Any] | None:
    """Our own part of a point; None for one that is damaged, or another kind of file.

    Raises UserError for one that `checkpoint_file.read` refuses.
    """
    named = _NAME.fullmatch(point.name)
    try:
        if named is None or named[2] != _checksum(point):
            return None
        state = safe_load.read(point, "resume")[KEY]
        state["ranks"][0]["facts"].items()
    except UserError:
        raise
    except Exception:  # there is no end to what a damaged file can raise
        return None
    return state if isinstance(state, dict) else None


def _differences(ranks: list[dict[str, Any]], facts: dict[str, Any], rank: int) -> str:
    """What is not as it was when a point was made, in words; empty where all is."""
    theirs = ranks[min(rank, len(ranks) - 1)]["facts"]  # how many there are is another question
    names = [name for name, value in facts.items() if theirs.get(name) != value]
    if not names:
        return ""
    words = {name: f"another {name}" for name in names}
    if CONFIGURATION in names:
        words[CONFIGURATION] = difference(theirs[CONFIGURATION], facts[CONFIGURATION])
    return f"was made with {', '.join(words.values())}"


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _batches(point: Path) -> int:
    named = _NAME.fullmatch(point.name)
    return int(named[1]) if named else 0


def _listed(damaged: list[Path]) -> str:
    return f"{', '.join(map(str, damaged))} {'is' if len(damaged) == 1 else 'are'}"
