"""A loader taken apart: how long a sample is in each stage of its way, and in which lines."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.utils.data import DataLoader

from hpml.errors import first_line
from hpml.loading.code_lines import LineSampler, Looks, line_of_each, ranked
from hpml.loading.global_state import seeded_folder
from hpml.loading.loader_copies import with_own_state
from hpml.loading.passes import NS_PER_S, Fetching, Parts, Pass, copying_s, run_pass
from hpml.loading.stage_clock import (
    COLLATING,
    COPYING,
    DECODING,
    LOOP,
    PINNING,
    READING,
    SAMPLER,
    StageClock,
)
from hpml.loading.stages import LoaderStages, Stage, WorkerTimes
from hpml.loading.timed_copies import stage_of
from hpml.loading.workers_pass import Delivery, WorkersPass, run_in_workers
from hpml.statistics import Estimate, estimate

SECONDS = 5.0
# Parts of the time: two passes over the same samples, a look at the lines, the workers.
FIRST_SHARE, LINES_SHARE, WORKERS_SHARE = 0.25, 0.25, 0.25
# Workers are tried where they have so many seconds, of which they need some to start.
LEAST_FOR_WORKERS_S = 0.5
MOST_LINES = 10
LEAST_BATCHES, MOST_LOOKED_AT = 2, 20  # of a pass; passes


def take_apart(loader: Any, seconds: float = SECONDS) -> LoaderStages:
    """What each stage of a sample costs, by passes over copies of a loader's parts.

    In this process, with as many threads as a worker has: a first pass over some samples; a second
    one over the same, whose times are those of the stages; a third one that looks for the lines.
    Then a pass through the loader's own workers. Loader, data set, transforms, sampler and random
    states stay as they are. What reads and decodes is known of Python's files, Pillow, torchvision,
    OpenCV, NumPy and others (see `hpml.loading.library_functions`); what is not is its caller's.

    Args:
        loader: a DataLoader. Of any other one nothing is known, which is said.
        seconds: that it takes, about; a sample that takes longer is loaded all the same, and of a
            batch that would take too long some samples are.

    Raises what the loader's own parts raise.
    """
    kind = type(loader).__name__
    if not isinstance(loader, DataLoader):
        why = f"a {kind} is no DataLoader, so its stages cannot be seen"
        return LoaderStages(kind, unknown={"stages": why})
    with seeded_folder(0, loader), _threads_of_a_worker(loader.num_workers):
        return _Apart(loader, seconds).stages()


def dearest_of(loaders: Sequence[Any], seconds: float) -> LoaderStages:
    """As `take_apart`, of the loader whose batches cost most; the time is for all of them."""
    found = [take_apart(loader, seconds / len(loaders)) for loader in loaders]
    costs = [stages.batch_s or 0.0 for stages in found]
    place = costs.index(max(costs))
    if len(found) == 1:
        return found[0]
    ms = ", ".join(f"{1000 * cost:.3g}" for cost in costs)
    which = f"of {len(found)} loaders this is number {place + 1}, the dearest: {ms} ms a batch"
    return replace(found[place], notes=[*found[place].notes, which])


@dataclass
class _Here:
    """What the passes in this process gave."""

    cut: int | None = None  # samples of a batch
    first: Pass = field(default_factory=Pass)
    second: Pass = field(default_factory=Pass)
    read: int | None = None  # bytes that the first one read from storage
    looks: Looks = field(default_factory=Counter)


class _Apart:
    """One loader under the knife."""

    def __init__(self, loader: DataLoader[Any], seconds: float) -> None:
        self._loader: Any = with_own_state(loader, {})
        self._parts = Parts.of(self._loader)
        self._seconds = seconds
        self._unknown: dict[str, str] = {}
        self._notes: list[str] = []
        if type(loader).__iter__ is not DataLoader.__iter__:
            self._notes.append(f"what {type(loader).__name__}.__iter__ adds is not in these times")

    def stages(self) -> LoaderStages:
        """All passes, one after the other."""
        here, failed = self._here_or_why()
        if failed is not None and not (here.second.ns or self._processes):
            raise failed
        made = self._in_workers(here.cut)
        if failed is not None:
            why = f"{type(failed).__name__}: {first_line(failed)}"
            self._notes.append(
                f"its transforms are not told apart, for timed ones fail ({why})"
                if here.second.ns
                else f"loading fails in this process ({why}): the stages are those of the workers"
            )
        if not here.second.ns:
            here.second = Pass.of((each.ns, each.samples) for each in made.batches)
        return self._result(here, made)

    def _here_or_why(self) -> tuple["_Here", Exception | None]:
        """The passes in this process, and what was raised: data may not bear timed parts."""
        failed: Exception | None = None
        for self._whole in (False, True):
            try:
                return self._here(), failed
            except Exception as error:
                failed = error
        self._whole = False
        return _Here(), failed

    def _here(self) -> "_Here":
        """The passes in this process."""
        cut = self._cut()
        fetching = Fetching(self._parts, StageClock(time.perf_counter_ns), self._whole)
        before = storage_bytes()
        first = self._pass(fetching, FIRST_SHARE, cut)
        read = _grown(before, storage_bytes())
        second = self._pass(fetching, FIRST_SHARE, cut, first)
        if len(second.ns) < len(first.ns):
            self._unknown["a second pass"] = "the data gave its samples once"
            return _Here(cut, Pass(), first, read, Counter())
        return _Here(cut, first, second, read, self._looks(fetching, cut, first))

    def _cut(self) -> int | None:
        """To how many samples a batch is cut to be loaded in time; None for as it is."""
        with seeded_folder(0, self._loader):
            index = next(iter(self._loader._index_sampler), None)
            if not (isinstance(index, list) and self._parts.in_batches):
                return None
            clock = StageClock(time.perf_counter_ns)
            for place in range(2):  # the first one imports, and opens files
                fetching = Fetching(self._parts, clock, self._whole)
                clock.take()
                try:
                    fetching.fetch(index[place : place + 1] or index[:1])
                except Exception:  # which the pass will raise, if it is more than a lone sample
                    return None
            sample_s = sum(clock.take().values()) / NS_PER_S
            fits = len(index)
            if sample_s:
                fits = int(FIRST_SHARE * self._seconds / sample_s / LEAST_BATCHES)
        if fits >= len(index):
            return None
        cut = max(1, fits)
        self._notes.append(
            f"of {len(index)} samples of a batch {cut} were loaded, for want of time: what is done "
            "once a batch counts for more than it is"
        )
        return cut

    def _pass(
        self, fetching: Fetching, share: float, cut: int | None, again: Pass | None = None
    ) -> Pass:
        with seeded_folder(0, self._loader):
            return run_pass(fetching, self._loader, share * self._seconds, cut, again)

    def _looks(self, fetching: Fetching, cut: int | None, first: Pass) -> Looks:
        """Passes over the same samples, looked at until the time for that is over."""
        until_ns = time.perf_counter_ns() + LINES_SHARE * self._seconds * NS_PER_S
        with LineSampler(run_pass.__code__, lambda: fetching.clock.phase) as sampler:
            for _ in range(MOST_LOOKED_AT):
                self._pass(fetching, LINES_SHARE, cut, first)
                if time.perf_counter_ns() >= until_ns:
                    break
        return sampler.ns

    @property
    def _processes(self) -> int:
        """Worker processes: what threads of this one do is what it does in its own passes."""
        threads = getattr(self._loader, "workers_are_threads", False)
        return 0 if threads else int(self._loader.num_workers)

    def _in_workers(self, cut: int | None) -> WorkersPass:
        if not self._processes:
            return WorkersPass([])
        seconds = WORKERS_SHARE * self._seconds
        if seconds < LEAST_FOR_WORKERS_S:
            self._unknown["the workers' times"] = "there was no time to start them"
            return WorkersPass([])
        try:
            with seeded_folder(0, self._loader):
                made = run_in_workers(self._loader, seconds, cut, self._whole)
        except Exception as error:
            self._unknown["the workers' times"] = f"{type(error).__name__}: {first_line(error)}"
            return WorkersPass([])
        if made.first_batch_s is None:
            why = f"no batch came in {seconds:.2g} s of their start"
            self._unknown["the workers' times"] = why
        return made

    def _result(self, here: "_Here", made: WorkersPass) -> LoaderStages:
        first, second, read = here.first, here.second, here.read
        lines = line_of_each(here.looks)
        stages = [
            Stage(
                name,
                taken,
                fmean(first.seconds(name)) if first.ns else None,
                made.seconds(name),
                lines.get(name),
            )
            for name in self._in_order(first.stages | second.stages)
            if (taken := estimate(second.seconds(name))) is not None
        ]
        counts = [count for count in second.samples if count is not None]
        stages += self._copying(second)
        if not stages:
            self._unknown["stages"] = "the loader gave no batch"
        if first.ns and not read and any(stage.name == READING for stage in stages):
            self._unknown["reading from storage"] = (
                "none was counted: the files were in memory, or lie where it is not counted"
            )
        return LoaderStages(
            loader=type(self._loader).__name__,
            unit="sample" if counts else "batch",
            counted=sum(counts) if counts else len(second.ns),
            batches=len(second.ns),
            stages=stages,
            code=ranked(here.looks, MOST_LINES),
            unknown=self._unknown,
            batch_samples=fmean(counts) if counts else None,
            first_s=sum(fmean(first.seconds(name)) for name in first.stages) if first.ns else None,
            first_more=first.more_than(second) if first.ns else None,
            first_batch_s=made.first_batch_s,
            storage_bytes=read,
            workers=[_times(deliveries) for deliveries in made.deliveries],
            workers_end=self._loader.num_workers > 0 and not self._loader.persistent_workers,
            notes=self._notes,
        )

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """The stages in the order of a sample's way, those of data sets behind their transforms."""
        own = stage_of(self._parts.dataset)
        head, tail = [SAMPLER, READING, DECODING], [own, COLLATING, PINNING, LOOP]
        between = [name for name in names if name not in (*head, *tail)]
        return [name for name in (*head, *between, *tail) if name in names]

    def _copying(self, second: Pass) -> list[Stage]:
        """Between the processes, where there are workers."""
        if not self._processes or second.batch is None:
            return []
        seconds = copying_s(second.batch, time.perf_counter_ns)
        if seconds is None:
            kind = type(second.batch).__name__
            self._unknown[COPYING] = f"a batch is a {kind} that is not made of tensors alone"
            return []
        a_sample = Estimate(seconds / (second.samples[-1] or 1), None, 1)
        return [Stage(COPYING, a_sample, None, None, None)]


def storage_bytes() -> int | None:
    """Bytes that this process has read from storage, not from memory; None where nobody tells."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = dict(line.split(": ") for line in lines)
    return int(counts["read_bytes"]) if "read_bytes" in counts else None


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _times(deliveries: Sequence[Delivery]) -> WorkerTimes:
    spent = [sum(each.ns.values()) / NS_PER_S for each in deliveries]
    first_s = next(iter(spent), None)
    return WorkerTimes(len(spent[1:]), sum(spent[1:]), first_s, estimate(spent[1:]))


@contextmanager
def _threads_of_a_worker(workers: int) -> Iterator[None]:
    """As many as the process that loads has: workers compute with one."""
    before = torch.get_num_threads()
    if workers:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
