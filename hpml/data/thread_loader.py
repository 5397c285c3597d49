"""A DataLoader whose workers are threads of the training process: no batch is copied to it.

They load at once where reading and decoding release the interpreter's lock, which Pillow and
libjpeg-turbo do. Batches come in the sampler's order, as from processes.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, ClassVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory
from torch.utils.data.dataloader import _BaseDataLoaderIter, _DatasetKind

from hpml.data.worker_watchdog import hung

# What a thread is asked for: where its batch goes, and the batch's keys; None to end.
Task = tuple[Future[Any], Any] | None


class ThreadLoader(DataLoader[Any]):
    """Of a map-style Dataset; `num_workers` and all other arguments are DataLoader's.

    Raises RunFailedError where a batch takes longer than `timeout` seconds.
    """

    workers_are_threads: ClassVar = True

    def _get_iterator(self) -> _BaseDataLoaderIter:
        return ThreadIterator(self) if self.num_workers else super()._get_iterator()


class ThreadIterator(_BaseDataLoaderIter):
    """The batches of an epoch; where it lives on, `_reset` begins the next with its threads."""

    def __init__(self, loader: ThreadLoader) -> None:
        super().__init__(loader)
        given = self._dataset, self._auto_collation, self._collate_fn, self._drop_last
        fetch = _DatasetKind.create_fetcher(self._dataset_kind, *given).fetch
        device = self._pin_memory_device if self._pin_memory else None
        self._ahead = loader.num_workers * (loader.prefetch_factor or 2)
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._asked: deque[Future[Any]] = deque()
        _start(loader.num_workers, self._tasks, fetch, device)
        self._reset(loader, first_iter=True)

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._drop()
        for _ in range(self._ahead):
            self._ask()

    def _ask(self) -> None:
        """For the next batch, where there is one."""
        keys = next(self._sampler_iter, None)
        if keys is not None:
            self._asked.append(Future())
            self._tasks.put((self._asked[-1], keys))

    def _next_data(self) -> Any:
        if not self._asked:
            raise StopIteration
        batch = self._asked.popleft()
        try:
            data = batch.result(self._timeout or None)
        except TimeoutError:
            if batch.done():  # one that was raised in loading
                raise
            raise hung(self._timeout) from None
        self._ask()
        return data

    def _drop(self) -> None:
        """What was asked for, and nobody takes any more."""
        while self._asked:
            self._asked.popleft().cancel()

    def _shutdown_workers(self) -> None:
        """Ends the threads, each when it has finished its batch; by the name that torch's have."""
        self._drop()
        for _ in range(self._num_workers):
            self._tasks.put(None)

    def __del__(self) -> None:
        if hasattr(self, "_asked"):
            self._shutdown_workers()


def _start(
    count: int, tasks: SimpleQueue[Task], fetch: Callable[[Any], Any], device: str | None
) -> None:
    """Threads that compute with one core each, as torch has it in worker processes.

    That a thread says so for itself changes the number for threads to come, which is put back.
    They are daemons: one that hangs does not keep the process from ending.
    """
    computing, ready = torch.get_num_threads(), threading.Barrier(count + 1)
    for number in range(count):
        name, given = f"loader-{number}", (tasks, fetch, device, ready)
        threading.Thread(target=_work, args=given, name=name, daemon=True).start()
    ready.wait()
    torch.set_num_threads(computing)


def _work(
    tasks: SimpleQueue[Task],
    fetch: Callable[[Any], Any],
    device: str | None,
    ready: threading.Barrier,
) -> None:
    torch.get_num_threads()  # a thread's first call would set it back to that of all
    torch.set_num_threads(1)
    ready.wait()
    while (task := tasks.get()) is not None:
        batch, keys = task
        if not batch.set_running_or_notify_cancel():
            continue
        try:
            data = fetch(keys)
            batch.set_result(data if device is None else pin_memory(data, device))
        except BaseException as error:
            batch.set_exception(error)
        del task, batch  # or a thread that waits would keep its last batch
        data = None
