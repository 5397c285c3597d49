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
from hpml.config.command_line import as_typed
from hpml.config.fingerprint import difference
from hpml.errors import UserError
from hpml.records.run_record import FILE_NAME
from hpml.system.environment import SWEPT

log = logging.getLogger("hpml")

FOLDER, KEY = "checkpoints", "hpml_resume"
AUTO, NEVER = "auto", "never"
CONFIGURATION = "configuration"  # among the facts, as `identifying` gives it
# How many processes load, and how, changes nothing about the batches of our own data.
LOADING = tuple(
    f"data.{key}"
    for key in (
        *("num_workers", "workers", "prefetch_factor", "persistent_workers", "pin_memory"),
        "decoder",
    )
)
KEPT = 2
PATTERN = "resume-*.ckpt"
_NAME = re.compile(r"resume-(\d+)-([0-9a-f]{16})\.ckpt")


class Found(NamedTuple):
    """The checkpoint that a run resumes from, our own part of it, and Lightning's."""

    path: Path
    state: dict[str, Any]
    content: dict[str, Any]  # as it was read: in plain types


class UnreadableError(Exception):
    """A file that no run can resume from: says why, in words that follow its name."""


def mode(resume: str | None) -> str:
    """AUTO, NEVER or a path: by default AUTO in a sweep and under SLURM, else NEVER."""
    if resume is not None:
        return str(resume)
    return AUTO if {SWEPT, "SLURM_JOB_ID"} & os.environ.keys() else NEVER


def check(resume: str | None, evaluated: str | None = None) -> None:
    """Raises UserError where `resume` names nothing that a run could resume from.

    Or where there is no checkpoint that is to be evaluated.
    """
    if evaluated is not None and not as_typed(evaluated).exists():
        raise UserError(f"evaluate={evaluated}: there is no such file")
    how = mode(resume)
    if how in (AUTO, NEVER):
        return
    if how.lower() in ("", "auto", "never", "true", "false") or not how.strip():
        raise UserError(f"resume={how}: give auto, never, or the path of a resume checkpoint")
    named = as_typed(how)
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

    One that is damaged, or cannot be loaded, is passed over for the one before it, with a warning
    that names both and says why. Raises UserError where that leaves none, or where this run cannot
    resume exactly from the last one; in a sweep that is a warning, and the run begins at its start.

    `facts` are what has to be the same, by name, as a checkpoint keeps it for each rank: if one
    resumed and another did not, they would wait for each other without end.
    """
    how = mode(resume)
    if how == NEVER:
        return None
    named = None if how == AUTO else as_typed(how)
    passed: list[str] = []
    for checkpoint in resume_checkpoints(named or directory):
        try:
            content = _read(checkpoint)
        except UnreadableError as error:
            is_named = named is not None and checkpoint == named.resolve()
            passed.append(str(error) if is_named else f"{checkpoint} {error}")
            continue
        if passed:
            log.warning(f"{'; '.join(passed)}; resuming from {checkpoint}")
        state = content.pop(KEY)
        why = _differences(state["ranks"], facts, rank)
        if not why:
            return Found(checkpoint, state, content)
        if named is not None:
            raise UserError(f"resume={how}: {why}; it cannot resume exactly")
        _refuse_or_warn(f"{checkpoint}: {why}")
        return None
    if passed and named is not None:
        raise UserError(f"resume={how}: {'; '.join(passed)}")
    if passed:
        _refuse_or_warn("; ".join(passed))
    return None


def _refuse_or_warn(why: str) -> None:
    """What a sweep does with a job by itself; elsewhere it is the user's to say."""
    if SWEPT not in os.environ:
        raise UserError(f"{why}; resume=never begins at the start, in their place")
    log.warning(f"{why}; the run begins at its start")


def _read(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint with our own part.

    Raises UnreadableError, and UserError for one that `safe_load.read` refuses.
    """
    named = _NAME.fullmatch(checkpoint.name)
    if named is None:
        raise UnreadableError(f"is no resume checkpoint of hpml ({PATTERN})")
    try:
        if named[2] != _checksum(checkpoint):
            raise UnreadableError("is damaged")
        content = safe_load.read(checkpoint, "resume")
        content[KEY]["ranks"][0]["facts"].items()
    except (UnreadableError, UserError):
        raise
    except Exception as error:  # there is no end to what torch can raise
        raise UnreadableError(f"cannot be loaded: {safe_load.reason(error)}") from error
    return content


def _differences(ranks: list[dict[str, Any]], facts: dict[str, Any], rank: int) -> str:
    """What is not as it was when a checkpoint was made, in words; empty where all is."""
    theirs = ranks[min(rank, len(ranks) - 1)]["facts"]  # how many there are is another question
    theirs, facts = _without_loading(theirs), _without_loading(facts)
    words = [
        difference(theirs[name], value) if name == CONFIGURATION else f"another {name}"
        for name, value in facts.items()
        if theirs.get(name) != value
    ]
    return f"was made with {', '.join(words)}" if words else ""


def _without_loading(facts: dict[str, Any]) -> dict[str, Any]:
    """With data of the user's own, as they are: that may count its workers."""
    configuration = facts.get(CONFIGURATION)
    if not isinstance(configuration, dict):
        return facts
    if not str(configuration.get("data._target_")).startswith("hpml."):
        return facts
    kept = {key: value for key, value in configuration.items() if key not in LOADING}
    return facts | {CONFIGURATION: kept}


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _batches(checkpoint: Path) -> int:
    named = _NAME.fullmatch(checkpoint.name)
    return int(named[1]) if named else 0
