"""A sweep's directory: one sweep at a time in it, and left as it was by one that never starts."""

from contextlib import suppress
from pathlib import Path

from hpml import files
from hpml.errors import UserError

HYDRAS_FILE = "multirun.yaml"  # which Hydra writes before the launcher is asked
NOT_IN_A_NAME = set("/\\'\"${}:*?<>|\n\t")

_before: tuple[Path, bool, bytes | None] | None = None


def check_name(name: str, key: str = "sweep.name") -> None:
    """Raises UserError for a name that would lead elsewhere, or that some system cannot hold."""
    if name.strip() in ("", ".", "..") or NOT_IN_A_NAME & set(name):
        raise UserError(f"{key}={name}: give a plain name, such as norm or 2026-01-01_a")


def remember(directory: Path) -> None:
    """Notes what is there, for `leave_as_it_was`."""
    global _before
    file = directory / HYDRAS_FILE
    there = any(directory.iterdir()) if directory.is_dir() else False
    _before = directory, there, file.read_bytes() if file.is_file() else None


def lock(directory: Path) -> None:
    """Takes a sweep's directory for this process. Raises UserError where another one has it."""
    try:
        is_free = files.lock(directory)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written: {error.strerror}") from error
    if not is_free:
        raise UserError(
            f"sweep.name={directory.name}: another sweep is at work in {directory}; "
            "wait for its end, or give another name"
        )


def leave_as_it_was() -> None:
    """Takes back what was written for a sweep that starts no job."""
    if _before is None:
        return
    directory, was_there, hydras = _before
    with suppress(OSError):  # gone, or something else lies there by now
        if hydras is not None:
            (directory / HYDRAS_FILE).write_bytes(hydras)
        else:
            (directory / HYDRAS_FILE).unlink(missing_ok=True)
        if not was_there:
            (directory / files.LOCK).unlink(missing_ok=True)
            directory.rmdir()
