"""A pass through a loader's workers: what each of them does, and when its batches come."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, IterableDataset
from torch.utils.data._utils import signal_handling
from torch.utils.data._utils import worker as of_torch
from torch.utils.data._utils.worker import WorkerInfo

from hpml.loading.library_functions import libraries_timed
from hpml.loading.passes import NS_PER_S, Fetching, Parts
from hpml.loading.stage_clock import StageClock

MOST_BATCHES = 10_000


class Delivery(NamedTuple):
    """What a worker sends: a batch, and what it took."""

    batch: Any
    worker: int
    samples: int | None
    ns: dict[str, int]  # by stage


@dataclass(eq=False)
class WorkersPass:
    """The deliveries of each worker, without their batches, in their order."""

    deliveries: list[list[Delivery]]
    first_batch_s: float | None = None  # from the moment that the workers were started

    @property
    def batches(self) -> list[Delivery]:
        """All but the first of each worker."""
        return [each for of_one in self.deliveries for each in of_one[1:]]

    def seconds(self, stage: str) -> float | None:
        """A sample, in the mean of the batches."""
        batches = self.batches
        samples = sum(each.samples or 1 for each in batches)
        spent = sum(each.ns.get(stage, 0) for each in batches)
        return spent / NS_PER_S / samples if samples else None


def run_in_workers(
    loader: Any, seconds: float, cut: int | None = None, whole: bool = False
) -> WorkersPass:
    """Takes batches of an epoch from workers as the loader has them, until the time is over.

    Of each batch no more than `cut` samples are fetched; `whole` as Fetching has it. Workers that
    have not started in that time, or hang, are ended.
    """
    made = WorkersPass([[] for _ in range(loader.num_workers)])
    begun_ns = time.perf_counter_ns()
    batches: Any = iter(_with_deliveries(loader, cut, whole))
    batches._timeout, is_late = seconds, False
    try:
        for _ in range(MOST_BATCHES):
            try:
                delivery = next(batches, None)
            except RuntimeError:
                is_late = time.perf_counter_ns() - begun_ns >= seconds * NS_PER_S
                if not is_late:
                    raise
                break
            if delivery is None:
                break
            if made.first_batch_s is None:
                made.first_batch_s = (time.perf_counter_ns() - begun_ns) / NS_PER_S
            made.deliveries[delivery.worker].append(delivery._replace(batch=None))
            if time.perf_counter_ns() - begun_ns >= seconds * NS_PER_S:
                break
    finally:
        if is_late:
            _stop(batches)
        batches._shutdown_workers()
    return made


def _stop(batches: Any) -> None:
    """Ends workers at once, which torch would wait for; it is not told, for it would raise."""
    signal_handling._remove_worker_pids(id(batches))
    batches._worker_pids_set = False
    for each in batches._workers:
        each.terminate()


def _with_deliveries(loader: Any, cut: int | None, whole: bool) -> DataLoader[Delivery]:
    parts = Parts.of(loader)
    stream = parts.is_stream
    size = loader.batch_size
    count = min(size, cut or size) if parts.in_batches and stream else None
    kind = _Stream if stream else _Indexed
    return DataLoader(
        kind(_AtWork(parts, whole), count),
        batch_size=None,
        sampler=None if stream else _Cut(loader._index_sampler, cut if parts.in_batches else None),
        num_workers=loader.num_workers,
        prefetch_factor=loader.prefetch_factor,
        collate_fn=_as_it_is,
        pin_memory=loader.pin_memory,
        worker_init_fn=_Init(loader.worker_init_fn),
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        in_order=loader.in_order,
    )


@dataclass(eq=False)
class _AtWork:
    """Fetches in a worker; timed copies are made there, so only the user's own goes to it."""

    parts: Parts
    whole: bool
    _fetching: Fetching | None = None
    _timed: Any = None

    def deliver(self, index: Any) -> Delivery:
        if self._fetching is None:
            clock = StageClock(time.perf_counter_ns)
            self._timed = contextlib.ExitStack()
            self._timed.enter_context(libraries_timed(clock))  # for as long as the worker lives
            self._fetching = Fetching(self.parts, clock, self.whole)
        self._fetching.clock.take()
        batch = self._fetching.fetch(index)
        info = of_torch.get_worker_info()
        assert info is not None
        ns = self._fetching.clock.take()
        return Delivery(batch, info.id, self._fetching.samples, ns)


@dataclass(eq=False)
class _Indexed(Dataset[Delivery]):
    work: _AtWork
    count: int | None

    def __getitem__(self, index: Any) -> Delivery:
        return self.work.deliver(index)


@dataclass(eq=False)
class _Stream(IterableDataset[Delivery]):
    work: _AtWork
    count: int | None  # samples of a batch; None where the stream gives batches

    def __iter__(self) -> Iterator[Delivery]:
        while True:
            try:
                delivery = self.work.deliver(None if self.count is None else [None] * self.count)
            except StopIteration:
                return
            yield delivery


@dataclass(eq=False)
class _Cut:
    """What a sampler asks for at once, but no more than so many samples."""

    sampler: Any
    most: int | None

    def __iter__(self) -> Iterator[Any]:
        for index in self.sampler:
            yield index[: self.most] if isinstance(index, list) else index


@dataclass(eq=False)
class _Init:
    """The user's `worker_init_fn`, which finds its own data set in `get_worker_info()`."""

    own: Any

    def __call__(self, worker: int) -> None:
        info: Any = of_torch.get_worker_info()
        dataset = info.dataset.work.parts.dataset
        given = {"id": info.id, "num_workers": info.num_workers, "seed": info.seed}
        of_torch._worker_info = WorkerInfo(**given, dataset=dataset)
        if self.own is not None:
            self.own(worker)


def _as_it_is(batch: Any) -> Any:
    return batch
