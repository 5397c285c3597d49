"""What has happened, in one line, where a run fails for want of disk, memory or a process."""

import errno
import os
import re
from pathlib import Path

from hpml.errors import RunFailedError, UserError, causes
from hpml.system.environment import MIB, resident_peak_mib

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HOST_MEMORY = re.compile(r"can't allocate memory|not enough memory|Cannot allocate memory")
MONITORS = (
    re.compile(r"conditioned on metric `(.+?)` which is not available.*following: (.+)"),
    re.compile(r"\(monitor='(.+?)'\)` could not find the monitored key .*?: \[(.*)\]"),
)
WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (is killed by signal: (\w+))?")


def explain(
    error: BaseException, directory: Path, batch_size: int | None = None
) -> RunFailedError | None:
    """The sentence for an error that has one; None for any other, which needs its traceback.

    What the error was raised from counts too. The directory is the run's.
    """
    if isinstance(error, RunFailedError):
        return error
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    chain = list(causes(error))
    for cause in reversed(chain):  # the others followed from the first one
        words = _of_memory(cause, batch_size) or _of_the_loader(cause) or _of_a_monitor(cause)
        if words is not None:
            return RunFailedError(words)
    return _of_the_disk(chain, directory)


def _of_memory(error: BaseException, batch_size: int | None) -> str | None:
    at = "" if batch_size is None else f" with data.batch_size={batch_size}"
    # torch's, which need not be imported for it
    if type(error).__name__ == "OutOfMemoryError" or "MPS backend out of memory" in str(error):
        import torch

        peak = "at its peak"
        if torch.cuda.is_available():
            peak = f"{torch.cuda.max_memory_allocated() / MIB:,.0f} MiB at its peak"
        return (
            f"out of memory on the device; {peak}{at}: give a smaller one (or "
            "data.eval_batch_size), model.width below what it is, or trainer.precision=bf16-mixed"
        )
    no_room = isinstance(error, OSError) and error.errno == errno.ENOMEM
    in_message = isinstance(error, RuntimeError | OSError) and HOST_MEMORY.search(str(error))
    if isinstance(error, MemoryError) or no_room or in_message:
        return (
            f"out of memory on the host; {resident_peak_mib():,.0f} MiB in this process at its "
            f"peak{at}: give a smaller one, fewer data.num_workers, or data.in_memory=false"
        )
    return None


def _of_the_loader(error: BaseException) -> str | None:
    if worker := WORKER.search(str(error)):
        died = f"was killed ({worker[3]})" if worker[3] else "ended"
        memory = "; for want of memory? Give fewer" if worker[3] == "Killed" else "; give other"
        return f"data worker {worker[1]} {died}{memory} data.num_workers; 0 loads in this process"
    return None


def _of_a_monitor(error: BaseException) -> str | None:
    """Of a callback of Lightning's whose metric the module does not log."""
    if (asked := next(filter(None, (each.search(str(error)) for each in MONITORS)), None)) is None:
        return None
    names = re.sub("[`']", "", asked[2])
    return f"monitor={asked[1]} of a callback: not among {names}"


def _of_the_disk(chain: list[BaseException], directory: Path) -> RunFailedError | None:
    gone: RunFailedError | None = None
    for cause in (cause for cause in reversed(chain) if isinstance(cause, OSError)):
        path = Path(os.fsdecode(cause.filename2 or cause.filename or ""))
        ours = path.is_relative_to(directory)
        failure = RunFailedError(f"{path if ours else directory}: {cause.strerror}")
        if cause.errno in NO_ROOM:
            return failure
        if ours:
            gone = gone or failure
    return gone
