"""Files written whole, JSON read, directories locked, sized and freshly made."""

import itertools
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpml.errors import UserError

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
    finally:
        temporary.unlink(missing_ok=True)
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
    with suppress(NotImplementedError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
    return lock


def why_not(error: OSError) -> str:
    """What the system says; in plain words where a file is in the place of a folder to be made."""
    in_its_place = isinstance(error, FileExistsError)
    return "is a file; give another place" if in_its_place else str(error.strerror)


def locked(directory: Path, key: str, in_use: str) -> "BaseFileLock":
    """A directory's lock. Raises UserError with `in_use` where another process has it."""
    try:
        taken = lock(directory)
    except OSError as error:
        raise UserError(f"{key}: {error.filename}: {why_not(error)}") from error
    if taken is None:
        raise UserError(in_use)
    return taken


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


@contextmanager
def pipe_may_close() -> Iterator[None]:
    """Standard output whose reader may have seen enough: `| head`."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def size_of(directory: Path) -> int:
    """Bytes of a file, or of the files in and below a directory."""
    if directory.is_file():
        return directory.lstat().st_size if not directory.is_symlink() else 0
    size = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                status = os.lstat(f"{parent}{os.sep}{name}")  # a Path takes long
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size


def remove_empty(directory: Path, up_to: Path | None = None) -> None:
    """Removes a directory that holds nothing, and then those above it.

    Below `up_to`, by default the working one, which stays.
    """
    directory, here = directory.resolve(), (up_to or Path.cwd()).resolve()
    with suppress(OSError):  # something else lies there
        while directory != here and directory not in here.parents:
            directory.rmdir()
            directory = directory.parent


def fresh_directory(wanted: Path) -> Path:
    """Makes a new directory; `-2`, `-3` … is added to its name where one exists already.

    Two runs that start in the same second get two directories: only one of them can make the
    first. Raises OSError where none can be made.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True)
    candidate, numbers = wanted, itertools.count(2)
    while True:
        try:
            candidate.mkdir()
        except FileExistsError:
            candidate = wanted.with_name(f"{wanted.name}-{next(numbers)}")
        else:
            return candidate
