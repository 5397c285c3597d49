"""What ends a run for want of memory, disk or a process, in words; the long suite causes it."""

import errno
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from hpml.data.worker_watchdog import ended_if_hung, send_feeder_errors
from hpml.errors import FailedElsewhereError, RunFailedError, UserError
from hpml.system import files
from hpml.system.failure_messages import explain

KILLED = "DataLoader worker (pid 7) is killed by signal: Killed. "
NOT_LOGGED = (
    "`ModelCheckpoint(monitor='a')` could not find the monitored key in the returned metrics: "
    "['b', 'epoch']. HINT: Did you call `log('a', value)` in the `LightningModule`?"
)
NOT_SHARED = "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left (28)"
NO_FILES = "unable to open shared memory object </torch_1> in read/write mode: Too many open files"
BUS = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)
SEGFAULT = "DataLoader worker (pid 7) is killed by signal: Segmentation fault. "
EXITED = "DataLoader worker (pid(s) 7) exited unexpectedly"


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FailedElsewhereError("rank 1 on node1: OSError: no"), "rank 1 on node1: OSError: no"),
        (MemoryError(), "out of memory on the host; "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "out of memory on the"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "with data.batch_size=8: give a smaller"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory on the device; "),
        (raised_from(RuntimeError(EXITED), RuntimeError(KILLED)), "worker 7 was killed (Killed);"),
        (RuntimeError(f"Caught it.\nOriginal:\n{NOT_SHARED}\n"), f"a data worker: {NOT_SHARED}; "),
        (RuntimeError(NO_FILES), f"a data worker: {NO_FILES}; give fewer data.num_workers, or"),
        (RuntimeError(BUS), "worker 7 was killed (Bus error); out of shared memory? "),
        (RuntimeError(SEGFAULT), "worker 7 was killed (Segmentation fault); give other"),
        (RuntimeError(EXITED), "data worker 7 ended; give other data.num_workers"),
        (RuntimeError(NOT_LOGGED), "monitor=a of a callback: not among b, epoch"),
        (OSError(errno.ENOSPC, "No space left", "/elsewhere"), "/run: No space left"),
        (OSError(errno.ENOENT, "No such file", "/run/record.json"), "/run/record.json: No such"),
    ],
)
def test_what_is_known_is_explained_in_a_line(error: Exception, words: str) -> None:
    """With what to give instead."""
    line = str(explain(error, Path("/run"), 8))
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error", [ValueError("theirs"), UserError("ours"), KeyboardInterrupt(), OSError(2, "no", "/x")]
)
def test_what_is_not_known_keeps_its_traceback(error: BaseException) -> None:
    """And what is explained already is not explained again."""
    assert explain(error, Path("/run")) is None


def test_a_worker_that_hangs_ends_the_wait() -> None:
    """After the time that it has; the batches before it are there."""

    def hang_at_two(samples: list[int]) -> list[int]:
        time.sleep(1000 if samples == [2] else 0)
        return samples

    taken = []
    no_batch = pytest.raises(RunFailedError, match=r"no batch came for data\.timeout_s=1: a worker")
    with no_batch, ended_if_hung(1.0):
        for batch in DataLoader(range(4), collate_fn=hang_at_two, num_workers=1):
            time.sleep(0.8)  # no wait for the loader
            taken.extend(batch)
    assert taken == [0, 1]


class NotSent:
    """What torch's tensors do where shared memory is full."""

    def __reduce__(self) -> Any:
        raise RuntimeError(NOT_SHARED)


def test_a_batch_that_cannot_be_sent_ends_the_wait_with_its_reason() -> None:
    """At the batch itself: Python would print the error and drop the batch, for a wait of ever."""

    def not_at_two(samples: list[int]) -> Any:
        return NotSent() if samples == [2] else samples

    loader = DataLoader(
        range(4), collate_fn=not_at_two, num_workers=1, worker_init_fn=send_feeder_errors
    )
    taken, caught, line = [], "", ""
    try:
        taken.extend(batch[0] for batch in loader)
    except RuntimeError as error:  # its frames would keep a worker, and that hold up a later test
        line, caught = str(explain(error, Path("/run"))), str(error.with_traceback(None))
    assert taken == [0, 1]
    assert caught.startswith("Caught RuntimeError in DataLoader worker 0")
    assert line.startswith(f"a data worker: {NOT_SHARED}; ")


def test_a_lock_without_shared_memory_is_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader's queues lie there; the run's own folder has room."""

    def full(*given: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("_multiprocessing.SemLock", full)
    with pytest.raises(OSError, match="No space left") as caught:
        multiprocessing.get_context("fork").Lock()
    line = str(explain(caught.value, Path("/run")))
    assert line.startswith("no shared memory for the data workers: No space left on device; ")


def test_a_directory_is_one_processs_at_a_time(tmp_path: Path) -> None:
    """Here of two that share a process."""
    lock = files.lock(tmp_path / "run")
    assert lock is not None
    assert files.lock(tmp_path / "run") is None
    lock.release()
    assert files.lock(tmp_path / "run") is not None
