"""A pass over a loader's samples in this process, with each stage timed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing import resource_sharer
from multiprocessing.reduction import ForkingPickler
from statistics import median
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import _DatasetKind
from torch.utils.data._utils.pin_memory import pin_memory

from hpml.loading.library_functions import libraries_timed
from hpml.loading.loader_copies import attributes_copied, with_own_state
from hpml.loading.stage_clock import COLLATING, PINNING, SAMPLER, StageClock
from hpml.loading.timed_copies import TimedCopies, stage_of
from hpml.statistics import Estimate, estimate

NS_PER_S = 1e9
MOST_BATCHES = 1000  # of a pass
COPIES = 9  # of a batch between processes, of which the median counts
_END = object()


@dataclass(eq=False)
class Parts:
    """What a loader's fetching is made of; goes to its workers as it is."""

    dataset: Any
    collate: Any
    kind: int
    in_batches: bool  # whether the loader puts samples together
    drops_last: bool

    @classmethod
    def of(cls, loader: Any) -> "Parts":
        kind, in_batches = loader._dataset_kind, loader._auto_collation
        return cls(loader.dataset, loader.collate_fn, kind, in_batches, loader.drop_last)

    @property
    def is_stream(self) -> bool:
        return self.kind == _DatasetKind.Iterable


class Fetching:
    """Fetches from copies of a loader's parts, which are timed by a clock.

    With `whole` the parts of the data set are not, only itself and what collates.
    """

    def __init__(self, parts: Parts, clock: StageClock, whole: bool = False) -> None:
        memo: dict[int, Any] = {}
        dataset = with_own_state(parts.dataset, memo)
        if dataset is parts.dataset and not isinstance(dataset, list | tuple | dict):
            dataset = attributes_copied(dataset, memo)  # of any class that can be indexed
        collate = with_own_state(parts.collate, memo)
        copies = TimedCopies(clock, memo)
        if not whole:
            copies.time_data_set(dataset)
        self.parts, self.clock, self.stage = parts, clock, stage_of(dataset)
        self._dataset, self._collate = dataset, copies.timed(collate, COLLATING)
        self.samples: int | None = None  # of the last batch; None where only the data set knows
        self.begin()

    def begin(self) -> None:
        """An epoch: a stream begins again."""
        parts = self.parts
        given = parts.kind, self._dataset, parts.in_batches, self._counted, parts.drops_last
        self._fetcher = self.clock.call(self.stage, _DatasetKind.create_fetcher, *given)

    def fetch(self, index: Any) -> Any:
        """A batch. Raises StopIteration at the end of a stream."""
        self.samples = len(index) if isinstance(index, list) else None
        return self.clock.call(self.stage, self._fetcher.fetch, index)

    def _counted(self, data: Any) -> Any:
        if self.parts.is_stream and self.parts.in_batches:  # its last batch may be short
            self.samples = len(data)
        return self._collate(data)


@dataclass(eq=False)
class Pass:
    """Of each batch: nanoseconds by stage, how many samples it has, and what was asked for."""

    ns: list[dict[str, int]] = field(default_factory=list)
    samples: list[int | None] = field(default_factory=list)
    indices: list[Any] = field(default_factory=list)
    batch: Any = None  # the last one

    @classmethod
    def of(cls, batches: Iterable[tuple[dict[str, int], int | None]]) -> "Pass":
        """A pass by its figures."""
        every = list(batches)
        return cls([ns for ns, _ in every], [samples for _, samples in every])

    def seconds(self, stage: str) -> list[float]:
        """A sample, in each batch; in the sampler without the first, where it makes its order."""
        both = list(zip(self.ns, self.samples, strict=True))
        chosen = both[1:] if stage == SAMPLER and len(both) > 1 else both
        return [times.get(stage, 0) / NS_PER_S / (count or 1) for times, count in chosen]

    def more_than(self, other: "Pass") -> Estimate | None:
        """By how many seconds a sample this one took longer, over the batches of both."""
        both = [[sum(times.values()) for times in each.ns] for each in (self, other)]
        pairs = zip(*both, self.samples, strict=False)
        return estimate([(a - b) / NS_PER_S / (count or 1) for a, b, count in pairs])

    @property
    def stages(self) -> dict[str, None]:
        return dict.fromkeys(stage for times in self.ns for stage in times)


def run_pass(
    fetching: Fetching,
    loader: Any,
    seconds: float,
    cut: int | None = None,
    again: Pass | None = None,
) -> Pass:
    """Goes through an epoch's batches one after the other, until the time is over.

    Of each no more than `cut` samples are fetched. `again` asks for what another pass did, and no
    more.
    """
    clock, made = fetching.clock, Pass()
    pins = loader.pin_memory and torch.accelerator.is_available()
    until_ns = time.perf_counter_ns() + round(seconds * NS_PER_S)
    fetching.begin()
    with libraries_timed(clock):
        indices = clock.call(SAMPLER, iter, loader._index_sampler)
        clock.take()
        for number in range(len(again.indices) if again else MOST_BATCHES):
            index = clock.call(SAMPLER, next, indices, _END)
            if again is not None:
                index = again.indices[number]
            if index is _END:
                break
            whole = len(index) if isinstance(index, list) else 0
            most = whole if cut is None else min(cut, whole)
            try:
                made.batch = fetching.fetch(index[:most] if most < whole else index)
            except StopIteration:
                break
            if pins:
                made.batch = clock.call(PINNING, pin_memory, made.batch, None)
            times = clock.take()
            if most < whole:  # it has given the others too
                times[SAMPLER] = times.get(SAMPLER, 0) * most // whole
            made.ns.append(times)
            made.samples.append(fetching.samples)
            made.indices.append(index)
            if again is None and time.perf_counter_ns() >= until_ns:
                break
    return made


def copying_s(batch: Any, time_ns: Callable[[], int]) -> float | None:
    """Seconds that a batch takes from one process to another, in the one and in the other.

    Done in this process, by what pickles a worker's batches, with copies of its tensors; without
    the time a pipe takes to wake the reader. None for a batch whose tensors it cannot find.
    """
    leaves = tree_leaves(batch)
    if not all(
        isinstance(leaf, torch.Tensor | int | float | str | bytes | None) for leaf in leaves
    ):
        return None
    spent_ns = []
    was_idle = resource_sharer._resource_sharer._address is None  # type: ignore[attr-defined]
    for _ in range(1 + COPIES):  # the first one starts the thread that hands memory over
        copied = tree_map(
            lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, batch
        )
        begun_ns = time_ns()
        ForkingPickler.loads(ForkingPickler.dumps(copied))
        spent_ns.append(time_ns() - begun_ns)
    if was_idle:  # its thread would stay
        resource_sharer.stop()
    return median(spent_ns[1:]) / NS_PER_S
