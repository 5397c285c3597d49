"""Lines of ours beside a program's own output."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lines:
    """Prints lines to the process's own stderr, with paths as they are seen from `folder`.

    Also where the program has put something else in the place of `sys.stderr`: what it collects
    there is its own.
    """

    folder: Path

    def __call__(self, line: str) -> None:
        line = line.replace(f"{self.folder}{os.sep}", "")
        above_the_bar = hasattr(sys.stderr, "rich_proxied_file")
        own: Any = sys.stderr if above_the_bar else sys.__stderr__
        with suppress(OSError, ValueError):  # closed
            if getattr(sys.stdout, "isatty", bool)():
                from tqdm import tqdm

                tqdm.write(line, file=own)  # around the bars
            else:
                print(line, file=own, flush=True)
