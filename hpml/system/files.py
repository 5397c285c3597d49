"""Files written whole, JSON, what a disk refuses, directories locked, sized and freshly made."""

import itertools
import json
import math
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpml.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"


def write_whole(file: Path, text: str) -> None:
    """Writes a file; a reader sees the old one or the new one, whole. Raises OSError.

    Written to a temporary file, flushed to the disk, then renamed; an error names the file itself.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except OSError as error:
        error.filename, error.filename2 = str(file), None
        raise
    finally:
        with suppress(OSError):  # mostly it is not there
            temporary.unlink()
    sync_directory(file.parent)


def write_json(file: Path, content: Any) -> None:
    """Writes an object's file whole, for `read_json`. Raises OSError."""
    write_whole(file, json.dumps(content, indent=1) + "\n")


def finite(value: Any) -> Any:
    """The same with null for each number that is not finite: JSON has no word for them."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(file: Path, *keys: str) -> dict[str, Any] | None:
    """An object's file; None where there is none that can be read, or one without these keys."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and set(keys) <= content.keys() else None


@contextmanager
def disk_errors_in_one_line(place: Path) -> Iterator[None]:
    """Raises UserError for what a disk refuses: of which file, else of `place`, and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or place}: {error.strerror or error}") from error


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
