"""Counts, durations and sizes, as one says them."""

import stat
from collections.abc import Sequence
from pathlib import Path


def counted(count: int, noun: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def capital(text: str) -> str:
    """A sentence's beginning; a key or a number stays as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def range_in_words(counts: Sequence[int]) -> str:
    """`8 to 9`; one number where they are all the same, a dash where there is none."""
    ends = sorted({min(counts), max(counts)}) if counts else []
    return " to ".join(f"{count:,}" for count in ends) or "–"


def duration_in_words(seconds: float) -> str:
    """A duration that is known roughly: `about 2 h 35 min`."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"about {hours} h {minutes % 60} min"
    return f"about {hours // 24} days"


def size_in_words(size: float) -> str:
    """A number of bytes in decimal units: `84 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


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
