"""What can be changed about anybody's Trainer, and the lines that change it."""

import math
import multiprocessing
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from hpml.config.auto import has_bfloat16, why_not_compiled
from hpml.formatting import counted
from hpml.records.phases import COMPUTE, INPUT, OVERHEAD, TRANSFER
from hpml.system.environment import usable_cores
from hpml.system.threads import BRIEF_SPINS, SPIN, affinity, waiting
from hpml.trials.agreement import Agreement
from hpml.trials.job_data import data_loaders
from hpml.trials.settings import (
    FUSED,
    Settings,
    compilable,
)
from hpml.trials.subject import Subject
from hpml.tuning.change import LOADER, MODULE, SCRIPT, TRAINER, Change, together
from hpml.tuning.changes.batch_size import accumulations, larger_batches
from hpml.tuning.changes.ddp import of_ranks
from hpml.tuning.changes.less_often import of_callbacks, of_logging

PREFETCHED = (4, 8)


def changes_of(subject: Subject, cores: int | None = None) -> list[Change]:
    """All that may help a job, by what its Trainer, module and loaders are.

    It has so many `cores`, by default all that there are.
    """
    cores = usable_cores() if cores is None else cores
    return [
        *_threads(subject, cores),
        *_of_loaders(subject, data_loaders(subject.data.loader), cores),
        *_of_compute(subject),
        *of_ranks(subject),
        *accumulations(subject),
        *of_logging(subject),
        *of_callbacks(subject),
    ]


def cores_of(agreement: Agreement) -> int:
    """Its part of the cores that a rank shares with others of its host. All ranks call this."""
    own = socket.gethostname(), affinity()
    return max(1, usable_cores() // agreement.every(own).count(own))


def worker_counts(now: int, cores: int) -> list[int]:
    """Numbers of workers to race: a few by doubling, up to the cores."""
    counts = {0, 1, cores, *(2**power for power in range(1, int(math.log2(max(1, cores))) + 1))}
    return sorted(counts - {now})


def price_of(workers: int) -> str:
    """What so many workers cost, in words."""
    return f"{counted(workers, 'worker')}, with their memory" if workers else ""


def _threads(subject: Subject, cores: int) -> Iterator[Change]:
    now = torch.get_num_threads()
    if subject.device.type == "cpu" or now > 1:
        yield from thread_changes(now, cores)
    if now > 1 and waiting() == SPIN:
        yield Change(
            name=f"GOMP_SPINCOUNT={BRIEF_SPINS}",
            slots=frozenset({"waiting"}),
            causes=frozenset({INPUT, COMPUTE, OVERHEAD}),
            needs="is read when a program starts: set it in the environment, and compare",
        )


def thread_changes(now: int, cores: int) -> list[Change]:
    """One thread, half the cores, all of them; without the number that there is."""
    return [threads_change(threads) for threads in sorted({1, cores // 2, cores} - {0, now})]


def threads_change(threads: int) -> Change:
    return Change(
        name=f"threads={threads}",
        slots=frozenset({"threads"}),
        causes=frozenset({INPUT, COMPUTE, OVERHEAD}),
        threads=threads,
        keys={"cpu.threads": threads},
        lines=((SCRIPT, f"torch.set_num_threads({threads})"),),
    )


def _of_loaders(subject: Subject, loaders: list[DataLoader[Any]], cores: int) -> Iterator[Change]:
    if len(loaders) != 1:  # several are told apart by nobody's lines
        return
    (loader,) = loaders
    now = loader.num_workers
    for workers in worker_counts(now, cores):
        change = loader_workers(workers, loader)
        yield change
        if workers and subject.device.type == "cpu" and torch.get_num_threads() > 1:
            yield together(change, threads_change(1))
    yield from larger_batches(loader, subject.learning_rates)
    for batches in (each for each in PREFETCHED if now and each != loader.prefetch_factor):
        yield _loader_change("prefetch_factor", batches, price="memory for more batches")
    if now and not loader.persistent_workers:
        yield _loader_change("persistent_workers", True, price="workers stay between epochs")
        yield from _of_starts(loader)
    if subject.device.type == "cuda" and not loader.pin_memory:
        yield _loader_change("pin_memory", True, TRANSFER, price="memory that cannot be swapped")


def _of_starts(loader: DataLoader[Any]) -> Iterator[Change]:
    """Of workers that start with each epoch: fork, beside which others import torch each time."""
    context = loader.multiprocessing_context
    now = context.get_start_method() if context else multiprocessing.get_start_method()
    if now != "fork" and "fork" in multiprocessing.get_all_start_methods():
        price = "forked workers may hang where the process has threads that hold locks"
        yield _loader_change("multiprocessing_context", "fork", price=price)


def loader_workers(workers: int, loader: DataLoader[Any]) -> Change:
    """So many workers, which stay between epochs."""
    settings: list[tuple[str, Any]] = [("num_workers", workers)]
    line = f"num_workers={workers}"
    if workers:
        settings.append(("persistent_workers", True))
        line += ", persistent_workers=True"
    else:  # torch refuses what only workers have
        line += ", persistent_workers=False" * loader.persistent_workers
        line += ", prefetch_factor=None" * (loader.prefetch_factor is not None)
        line += ", timeout=0" * bool(loader.timeout)
        line += ", multiprocessing_context=None" * (loader.multiprocessing_context is not None)
    return Change(
        name=f"num_workers={workers}",
        slots=frozenset({"num_workers", "persistent_workers"}),
        causes=frozenset({INPUT}),
        price=price_of(workers),
        settings=Settings(loader=tuple(settings)),
        lines=((LOADER, line),),
    )


def _loader_change(argument: str, value: Any, cause: str = INPUT, price: str = "") -> Change:
    """Of an argument of torch's loader."""
    return Change(
        name=f"{argument}={value}",
        slots=frozenset({argument}),
        causes=frozenset({cause}),
        price=price,
        settings=Settings(loader=((argument, value),)),
        lines=((LOADER, f"{argument}={value}"),),
    )


def _of_compute(subject: Subject) -> Iterator[Change]:
    network, on_gpu = subject.network, subject.device.type == "cuda"
    if compilable(network):
        why_not = why_not_compiled(subject.device.type) or ""
        modes = ("default", "max-autotune") if on_gpu else ("default",)
        for mode in modes:
            argument = "" if mode == "default" else f'mode="{mode}"'
            parts = [name for name, _ in compilable(network)]
            yield _compute_change(
                "compile" if mode == "default" else f"compile={mode}",
                {"compile"},
                Settings(compile=mode),
                [(MODULE, f"self.{name}.compile({argument})") for name in parts],
                "the first steps compile",
                needs=why_not,
            )
    convolutions = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    if convolutions and not any(map(_is_channels_last, convolutions)):
        line = "self.to(memory_format=torch.channels_last)"
        yield _compute_change(
            "channels_last", {"channels_last"}, Settings(channels_last=True), [(MODULE, line)]
        )
        if on_gpu and not torch.backends.cudnn.benchmark:
            yield _compute_change(
                "cudnn.benchmark",
                {"benchmark"},
                Settings(flags=("cudnn.benchmark",)),
                [(TRAINER, "benchmark=True")],
            )
    precision = str(subject.trainer.precision)
    if precision.startswith("32") and has_bfloat16(subject.device.type):
        yield _compute_change(
            "bf16-mixed",
            {"precision"},
            Settings(precision="bf16-mixed"),
            [(TRAINER, 'precision="bf16-mixed"')],
            "computes with fewer bits",
            fewer_bits=True,
        )
    if on_gpu and precision.startswith("32") and torch.get_float32_matmul_precision() == "highest":
        line = 'torch.set_float32_matmul_precision("high")'
        yield _compute_change(
            "tf32",
            {"precision"},
            Settings(flags=("tf32",)),
            [(SCRIPT, line)],
            "matrix products with fewer bits",
            fewer_bits=True,
        )
    yield from _of_optimizers(subject)


def _is_channels_last(convolution: torch.nn.Conv2d) -> bool:
    weight = convolution.weight  # of a kernel of one pixel both formats are the same
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def _of_optimizers(subject: Subject) -> Iterator[Change]:
    kinds = subject.optimizer_kinds
    if not kinds:
        return
    name = " and ".join(kind.__name__ for kind in kinds)
    ways = ["foreach"] if subject.device.type == "cpu" else []  # else it is the default
    if all(kind in FUSED for kind in kinds):
        ways.append("fused")
    for way in (each for each in ways if each not in subject.optimizer_ways):
        yield _compute_change(
            way,
            {"optimizer"},
            Settings(optimizer=way),
            [(MODULE, f"{way}=True for {name}")],
        )


def _compute_change(
    name: str,
    slots: Iterable[str],
    settings: Settings,
    lines: list[tuple[str, str]],
    price: str = "",
    **traits: Any,
) -> Change:
    own, causes = frozenset(slots), frozenset({COMPUTE})
    return Change(name, own, causes, price, settings=settings, lines=tuple(lines), **traits)
