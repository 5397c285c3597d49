"""Files that are there whole or not at all."""

import itertools
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"


def write_whole(file: Path, text: str) -> None:
    """Writes a file; a reader sees the old one or the new one, whole. Raises OSError.

    Written to a temporary file, flushed to the disk, then renamed.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(file.parent)


def read_json(file: Path, *keys: str) -> dict[str, Any] | None:
    """An object's file; None where there is none that can be read, or one without these keys."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and set(keys) <= content.keys() else None


def lock(directory: Path) -> "BaseFileLock | None":
    """Takes a directory for this process, as long as the lock is kept; None if another has it.

    A file system without locks takes all for free. Raises OSError where nothing can be written.
    """
    from filelock import FileLock, Timeout

    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except NotImplementedError:
        pass
    return lock


def sync_directory(directory: Path) -> None:
    """Makes a rename survive a power cut, where the system lets a directory be opened."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def size_of(directory: Path) -> int:
    """Bytes of a file, or of the files in and below a directory."""
    size = 0
    for file in [directory] if directory.is_file() else directory.rglob("*"):
        try:
            status = file.lstat()
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
        except OSError:
            continue
    return size


def fresh_directory(wanted: Path) -> Path:
    """Makes a new directory; `-2`, `-3` … is added to its name where one exists already.

    Two runs that start in the same second get two directories: only one of them can make the
    first. Raises OSError where none can be made.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        candidate = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            candidate.mkdir()
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("the numbers do not end")
