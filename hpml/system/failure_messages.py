"""What has happened, in one line, where a run fails for want of disk, memory or a process."""

import errno
import os
import re
import shutil
from pathlib import Path
from traceback import walk_tb

from hpml.errors import RunFailedError, UserError, causes
from hpml.system.environment import MIB, resident_peak_mib

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HOST_MEMORY = re.compile(r"can't allocate memory|not enough memory|Cannot allocate memory")
MONITORS = (
    re.compile(r"conditioned on metric `(.+?)` which is not available.*following: (.+)"),
    re.compile(r"\(monitor='(.+?)'\)` could not find the monitored key .*?: \[(.*)\]"),
)
WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (is killed by signal: ([^.]+))?")
SEMAPHORES = "multiprocessing.synchronize"
# What torch says of a tensor that it could not share between processes, and why.
NOT_SHARED = re.compile(r"unable to \w+ [^\n]*(?:shared memory|shm|</torch_)[^\n]*")
SHARED_MEMORY = Path("/dev/shm")  # of Linux


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
        words = _of_shared_memory(cause) or _of_memory(cause, batch_size)
        words = words or _of_the_loader(cause) or _of_a_monitor(cause)
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


def _of_shared_memory(error: BaseException) -> str | None:
    """Of what workers hand over: torch's reason, and where the memory's size is to be given."""
    if (reason := NOT_SHARED.search(str(error))) is None:
        if not (isinstance(error, OSError) and error.errno == errno.ENOSPC and _of_a_lock(error)):
            return None
        return f"no shared memory for the data workers: {error.strerror}; {_more_shared_memory()}"
    if "open files" in reason[0]:
        return f"a data worker: {reason[0]}; give fewer data.num_workers, or raise ulimit -n"
    return f"a data worker: {reason[0]}; {_more_shared_memory()}"


def _of_a_lock(error: BaseException) -> bool:
    """Whether a process could not make one for its workers: it lies in shared memory, too."""
    frames = walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == SEMAPHORES for frame, _ in frames)


def _more_shared_memory() -> str:
    size = ""
    if SHARED_MEMORY.is_dir():
        size = f"{SHARED_MEMORY} has {shutil.disk_usage(SHARED_MEMORY).total / MIB:,.1f} MiB: "
    return (
        f"{size}give it more (--shm-size of a container), fewer data.num_workers, or a smaller "
        "data.batch_size; 0 workers load in this process"
    )


def _of_the_loader(error: BaseException) -> str | None:
    if (worker := WORKER.search(str(error))) is None:
        return None
    died = f"was killed ({worker[3]})" if worker[3] else "ended"
    if worker[3] == "Bus error":  # as Linux says it; torch guesses the same
        return f"data worker {worker[1]} {died}; out of shared memory? {_more_shared_memory()}"
    memory = "; for want of memory? Give fewer" if worker[3] == "Killed" else "; give other"
    return f"data worker {worker[1]} {died}{memory} data.num_workers; 0 loads in this process"


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
