"""Settings of a job that a trial changes: of its loaders, its Trainer, its module's parts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from hpml.trials.resting_callbacks import RESTING_BATCHES, rest
from hpml.trials.samples_seeded_by_index import ByIndex

# Optimizers of torch whose steps there is a fused kernel for, also on a CPU.
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
WAYS = ("fused", "foreach")
COMPILED = "_compiled_call_impl"
PREFETCH_FACTOR = 2  # as torch has it, where there are workers


@dataclass(frozen=True)
class Settings:
    """What a job is changed to; what is None, empty or false is as it was."""

    loader: tuple[tuple[str, Any], ...] = ()  # arguments of torch's DataLoader, and their values
    precision: str | None = None  # of the Trainer
    log_every: int | None = None  # steps between two values in the loggers
    rests: frozenset[str] = frozenset()  # callbacks that act at one of some batches
    rest_batches: int = 0  # so many; 0 for RESTING_BATCHES
    compile: str | None = None  # the module's parts, in this mode of torch.compile
    channels_last: bool = False  # memory format of the weights
    optimizer: str | None = None  # how its steps are computed: fused, or foreach
    flags: tuple[str, ...] = ()  # of FLAGS, that are set
    batch_times: int = 0  # as many samples in a batch; 0 for as many as there are
    accumulate: int = 0  # batches whose gradients are summed for one step; 0 for as many as now
    check_every: int = 0  # epochs between two validations; 0 for as many as now
    ddp: tuple[tuple[str, Any], ...] = ()  # arguments of DistributedDataParallel
    by_index: bool = False  # samples draw random numbers by their index, in whichever process

    def __or__(self, other: "Settings") -> "Settings":
        """Both; where they contradict each other, the other one's."""
        values = {}
        for name in (field.name for field in fields(self)):
            own, others = getattr(self, name), getattr(other, name)
            values[name] = others or own
        for name in ("loader", "ddp"):
            values[name] = tuple((dict(getattr(self, name)) | dict(getattr(other, name))).items())
        values["rests"] = self.rests | other.rests
        values["flags"] = tuple(dict.fromkeys(self.flags + other.flags))
        return Settings(**values)

    def change_loader(self, loader: Any) -> None:
        """Changes one that no process loads for yet; others than torch's stay as they are."""
        if not isinstance(loader, DataLoader):
            return
        if self.by_index and not isinstance(loader.dataset, IterableDataset):
            vars(loader)["dataset"] = ByIndex(loader.dataset)
        if self.batch_times and has_batches(loader):
            size = self.batch_times * (loader.batch_size or 1)
            sampler = BatchSampler(loader.sampler, size, loader.drop_last)
            vars(loader).update(batch_size=size, batch_sampler=sampler)
        if not self.loader:
            return
        arguments = {"num_workers": loader.num_workers} | dict(self.loader)
        if arguments["num_workers"] == 0:
            arguments |= {"prefetch_factor": None, "persistent_workers": False, "timeout": 0}
        elif "prefetch_factor" not in arguments and loader.prefetch_factor is None:
            arguments["prefetch_factor"] = PREFETCH_FACTOR
        context = arguments.pop("multiprocessing_context", None)
        vars(loader).update(arguments)  # setattr is refused for some
        if context is not None:
            loader.multiprocessing_context = context

    def rest(self, callback: Any) -> None:
        """Has a callback act at some batches only."""
        rest(callback, self.rest_batches or RESTING_BATCHES)

    @contextmanager
    def applied(self, module: Any, compiled: dict[tuple[str, str], Any]) -> Iterator[None]:
        """Of a module's parts, and of torch itself, meanwhile.

        What is compiled is kept in `compiled`, by part and mode, for the next trial.
        """
        with ExitStack() as stack:
            for name in self.flags:
                read, write = FLAGS[name]
                stack.callback(write, read())
                write(_SET[name])
            if self.channels_last:
                weights = [each for each in module.parameters() if each.dim() == 4]
                stack.callback(_put_back, [(each, each.data) for each in weights])
                module.to(memory_format=torch.channels_last)
            if self.compile is not None:
                for name, part in compilable(module):
                    key = name, self.compile
                    if key not in compiled:
                        compiled[key] = torch.compile(part._call_impl, mode=self.compile)
                    stack.callback(setattr, part, COMPILED, getattr(part, COMPILED))
                    setattr(part, COMPILED, compiled[key])
            yield

    def set_optimizers(self, optimizers: list[Any]) -> None:
        """Before their first step."""
        for optimizer in optimizers if self.optimizer is not None else ():
            for group in optimizer.param_groups:
                for way in WAYS:
                    if way in group:
                        group[way] = way == self.optimizer


def has_batches(loader: DataLoader[Any]) -> bool:
    """Whether it makes batches of a size, by torch's own sampler."""
    return loader.batch_size is not None and type(loader.batch_sampler) is BatchSampler


def ways_of(optimizers: list[Any]) -> frozenset[str]:
    """How the steps of all of them were asked to be computed: of WAYS."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return frozenset(way for way in WAYS if groups and all(group.get(way) for group in groups))


def rates_of(optimizers: list[Any]) -> tuple[float, ...]:
    """The learning rates of all of them that are numbers, as a schedule begins with them."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group.get("initial_lr", group.get("lr")) for group in groups]
    return tuple(dict.fromkeys(rate for rate in rates if isinstance(rate, float)))


def compilable(module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The parts of a LightningModule that hold weights, and are not compiled yet."""
    return [
        (name, part)
        for name, part in module.named_children()
        if getattr(part, COMPILED) is None and any(True for _ in part.parameters())
    ]


def _put_back(weights: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Has each lie in memory as it did."""
    for tensor, before in weights:
        before.copy_(tensor.data)  # with what it has learnt
        tensor.data = before


def _set_benchmark(value: bool) -> None:
    torch.backends.cudnn.benchmark = value


FLAGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "cudnn.benchmark": (lambda: torch.backends.cudnn.benchmark, _set_benchmark),
    "tf32": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}
_SET = {"cudnn.benchmark": True, "tf32": "high"}
