"""The command that shows curves in TensorBoard, which holds for the number of its files."""

import shlex
from pathlib import Path

EVENTS = "events.out.tfevents.*"
USUAL_LIMIT = 1024  # open files of a process on Linux, where the command may be typed
# Of those that its server opens besides: sockets, and the folders that it walks. Under a limit of
# 1,024, the server of 2.21.0 shows 1,010 files steadily, and 1,016 now and then.
BESIDES = 64


def command(directory: Path, shown: Path) -> str:
    """TensorBoard's command for the event files below a directory, spelled as `shown`.

    Its data server keeps each file open, and from the limit of open files on lists no run, some,
    or all, another at each reload. Its other loader opens one file after the other.
    """
    files = sum(1 for _ in directory.rglob(EVENTS))
    slow = " --load_fast=false" if files + BESIDES > _open_files() else ""
    return f"tensorboard --logdir {shlex.quote(str(shown))}{slow}"


def _open_files() -> int:
    """How many a process may have open: here or, where here it is more, as is usual."""
    try:
        import resource
    except ImportError:  # Windows
        return USUAL_LIMIT
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return USUAL_LIMIT if limit == resource.RLIM_INFINITY else min(limit, USUAL_LIMIT)
