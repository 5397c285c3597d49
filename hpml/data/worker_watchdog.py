"""Ends a wait for a loader's workers that has no end."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from traceback import walk_stack
from typing import Any

from torch._utils import ExceptionWrapper
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from hpml.errors import RunFailedError

LOOK_S = 1.0
FEEDER_ERROR = "_on_queue_feeder_error"  # Python's hook for what a queue's thread could not send


@contextmanager
def ended_if_hung(timeout_s: float | None) -> Iterator[None]:
    """Within it, a wait of this thread for one batch of a loader's workers has an end.

    Raises RunFailedError after `timeout_s` of it; None waits for ever. A DataLoader's own timeout
    would not do: to take over a batch that lies ready, it waits without limit for the worker that
    made it.
    """
    # torch's `__del__` misses it, with a traceback, where a loader fails before it has workers
    setattr(_MultiProcessingDataLoaderIter, "_shutdown", True)  # noqa: B010
    if timeout_s is None:
        yield
        return
    ended, barked = threading.Event(), threading.Event()
    watching = (threading.get_ident(), timeout_s, ended, barked)
    threading.Thread(target=_watch, args=watching, name="watchdog", daemon=True).start()
    try:
        yield
    except Exception as error:
        if barked.is_set():
            raise hung(timeout_s) from error
        raise
    finally:
        ended.set()


def hung(timeout_s: float) -> RunFailedError:
    """What is raised where no batch came for so long."""
    return RunFailedError(
        f"no batch came for data.timeout_s={timeout_s:g}: a worker hangs, or needs longer; "
        "data.num_workers=0 shows where"
    )


def _watch(thread: int, timeout_s: float, ended: threading.Event, barked: threading.Event) -> None:
    """Looks at the stack of a thread now and then, which costs that one nothing.

    Where it has waited too long, the workers are killed, which torch tells it.
    """
    waiting_for, since_s = None, time.monotonic()
    while not ended.wait(min(LOOK_S, timeout_s / 4)):
        now_for = _waits_for(thread)
        if now_for is None or now_for != waiting_for:
            waiting_for, since_s = now_for, time.monotonic()
        elif time.monotonic() - since_s >= timeout_s:
            barked.set()
            for child in multiprocessing.active_children():
                child.kill()
            return


def _waits_for(thread: int) -> tuple[int, int] | None:
    """The loader and the number of its batch; None where none is waited for."""
    for frame, _ in walk_stack(sys._current_frames().get(thread)):
        if frame.f_code is _MultiProcessingDataLoaderIter._get_data.__code__:
            loader = frame.f_locals["self"]
            return id(loader), loader._rcvd_idx
    return None


def send_feeder_errors(worker_id: int) -> None:
    """A `worker_init_fn`, after which a batch that could not be sent raises where it is awaited.

    A queue pickles in a thread of its own, which puts tensors into shared memory. What fails there,
    as where that is full, Python prints, and drops the batch: its loader would wait for ever.
    """
    printed = getattr(Queue, FEEDER_ERROR)

    def send(queue: Any, error: Exception, sent: Any) -> None:
        if isinstance(sent, tuple) and len(sent) == 2:  # a batch, behind its number
            raised = type(error), error, error.__traceback__
            queue.put((sent[0], ExceptionWrapper(raised, f"in DataLoader worker {worker_id}")))
        else:
            printed(error, sent)

    setattr(Queue, FEEDER_ERROR, send)
