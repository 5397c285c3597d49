"""Disks that are full, or cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory, of a size; skips the test where we may not mount one."""
    if os.geteuid():
        pytest.skip("only root may mount")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path) -> None:
    """Until nothing is free on its disk."""
    with suppress(OSError), file.open("wb", buffering=0) as opened:
        while opened.write(b"0" * 4096):
            pass
