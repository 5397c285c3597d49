"""One sweep at a time in one directory."""

from pathlib import Path

from filelock import FileLock, Timeout

from hpml.errors import UserError

_held: list[FileLock] = []  # until the process ends, however it ends


def lock(directory: Path) -> None:
    """Takes a sweep's directory for this process. Raises UserError where another one has it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = FileLock(directory / ".lock")
        file.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"sweep.name={directory.name}: another sweep is at work in {directory}; "
            "wait for its end, or give another name"
        ) from error
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written: {error.strerror}") from error
    _held.append(file)
