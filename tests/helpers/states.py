"""States of many kinds, as callbacks, schedulers, modules and data of a user's own keep them."""

import functools
import random
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import lightning as L
import numpy as np
import torch
from omegaconf import OmegaConf
from torch.optim.lr_scheduler import LambdaLR

from helpers.own import OwnModule, Resumable, network
from hpml.models.image_classifier import ImageClassifier


class Phase(Enum):
    WARM_UP = 1
    TRAIN = 2


class Parts(Flag):
    HEAD = 1
    BODY = 2


class Best(NamedTuple):
    epoch: int
    loss: Any


@dataclass(frozen=True)
class Settings:
    rate: Any
    name: str = "a"


@dataclass
class Acting:
    """Holds more than data."""

    rate: float

    def step(self) -> None:
        """Does what a file should not have it do."""


class Unlike:
    """A class that no checkpoint can hold."""


def scaled(factor: float, value: float) -> float:
    return factor * value


torch.serialization.add_safe_globals([scaled])


def _grown(counts: dict[Any, Any], key: Any) -> Any:
    counts[key] = counts[key] + 1
    return counts


def _grown_lists(lists: Any) -> Any:
    lists[len(lists) // 2].append(np.float64(len(lists)))
    return lists


def _drawn(generator: Any, draw: Callable[[Any], Any]) -> Any:
    draw(generator)
    return generator


# Of each kind: how it begins, and what comes after it at the next batch.
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "numpy's number": (lambda: np.float64(0.1), lambda value: value * np.float32(1.1)),
    "array": (lambda: np.ones((2, 3), order="F"), lambda value: np.asfortranarray(value / 3)),
    "structured array": (lambda: np.zeros(2, "i4,f8"), lambda value: value.copy()),
    "path": (lambda: Path("a"), lambda value: value / "b"),
    "date": (lambda: date(2024, 2, 28), lambda value: value + timedelta(1)),
    "time with a zone": (
        lambda: datetime(2024, 3, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        lambda value: value + timedelta(hours=13),
    ),
    "time with UTC": (
        lambda: datetime(2024, 3, 30, tzinfo=UTC),
        lambda value: value.replace(fold=1),
    ),
    "enum": (lambda: Phase.WARM_UP, lambda value: Phase(3 - value.value)),
    "flag": (lambda: Parts(0), lambda value: Parts((value.value + 1) % 4)),
    "configuration": (
        lambda: OmegaConf.create({"a": {"n": 0}, "twice": ["${a.n}"]}, flags={"struct": True}),
        lambda value: OmegaConf.merge(value, {"a": {"n": value.a.n + 1}}),
    ),
    "list of a configuration": (
        lambda: OmegaConf.create([1]),
        lambda value: OmegaConf.create([*value, 2]),
    ),
    "defaultdict": (lambda: defaultdict(list), _grown_lists),
    "deque": (lambda: deque([0], maxlen=3), lambda value: deque([*value, value[-1] + 1], 3)),
    "OrderedDict": (lambda: OrderedDict(b=1, a=0), lambda value: _grown(value, "a")),
    "Counter of enums": (lambda: Counter([Phase.TRAIN]), lambda value: _grown(value, Phase.TRAIN)),
    "keys of numpy's": (lambda: {np.int64(3): 0}, lambda value: _grown(value, np.int64(3))),
    "our own key": (lambda: {"hpml_type": 0}, lambda value: _grown(value, "hpml_type")),
    "set": (lambda: {(0, Phase.TRAIN)}, lambda value: value | {(len(value), Phase.TRAIN)}),
    "frozenset": (lambda: frozenset({1}), lambda value: value | {len(value) + 1}),
    "named tuple": (lambda: Best(0, np.float32(1)), lambda value: Best(value[0] + 1, value[1] / 3)),
    "dataclass": (
        lambda: Settings(np.float64(1)),
        lambda value: replace(value, rate=value.rate / 3),
    ),
    "fractions": (
        lambda: [Fraction(1, 3), Decimal("0.1")],
        lambda value: [one / 3 for one in value],
    ),
    "uuid, range and slice": (lambda: (uuid.UUID(int=3), range(1, 9, 2), slice(2)), lambda v: v),
    "partial of what is admitted": (
        lambda: functools.partial(scaled, 1.0),
        lambda value: functools.partial(scaled, value(2.0)),
    ),
    "Python's generator": (lambda: random.Random(1), lambda g: _drawn(g, random.Random.random)),
    "numpy's generator": (
        lambda: np.random.default_rng(1),
        lambda g: _drawn(g, lambda g: g.random()),
    ),
    "numpy's old generator": (
        lambda: np.random.RandomState(1),
        lambda generator: _drawn(generator, lambda generator: generator.normal()),
    ),
    "torch's generator": (
        lambda: torch.Generator().manual_seed(1),
        lambda generator: _drawn(generator, lambda generator: torch.rand(1, generator=generator)),
    ),
}

NOT_KEPT: dict[str, tuple[Any, str]] = {
    "function": (scaled.__get__(1.0), r"a function helpers\.states\.scaled"),
    "lambda": (lambda: 0, r"a function helpers\.states\.<lambda>"),
    "partial": (functools.partial(_grown, {}), r"a function helpers\.states\._grown"),
    "factory": (defaultdict(lambda: 0), r"a function helpers\.states\.<lambda>"),
    "class": (torch.optim.SGD, r"a class torch\.optim\.sgd\.SGD"),
    "object": ([{"x": Unlike()}], r"of the type helpers\.states\.Unlike"),
    "network": (torch.nn.Linear(1, 1), r"of the type torch\.nn\.modules\.linear\.Linear"),
    "a dataclass that acts": (Acting(1.0), r"of the type helpers\.states\.Acting"),
    "objects in an array": (np.array([Unlike()]), "an array of Python objects"),
    "large integer": (2**3000, "an integer of 3,001 bits"),
    "subclass of an array": (np.ma.array([1]), r"of the type numpy\.ma\.MaskedArray"),
}


class Stateful(Resumable):
    """Keeps a value of each kind; each decides a little on the weights."""

    last: ClassVar[dict[str, Any]] = {}  # of the run that was begun last

    def __init__(self) -> None:
        Stateful.last = self.values = {name: begin() for name, (begin, _) in KINDS.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        Stateful.last = self.values = state["values"]

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *arguments: Any) -> None:
        """Goes on from value to value."""
        for name, (_, follow) in KINDS.items():
            before = self.values[name]
            self.values[name] = follow(before)
            assert type(self.values[name]) is type(before), name
        rate = float(self.values["numpy's number"]) * self.values["numpy's generator"].random()
        with torch.no_grad():
            module.network[-1].bias.mul_(1 + 1e-3 * rate)


class Keeping(Resumable):
    """Keeps what cannot be."""

    value: ClassVar[Any] = None

    def state_dict(self) -> dict[str, Any]:
        return {"ok": 1, "value": self.value}


class Loader:
    """Batches of numpy's generator, six an epoch; it begins again where it was."""

    def __init__(self) -> None:
        self.done, self.generator = np.int64(0), np.random.default_rng(1)

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[Any]:
        self.done %= np.int64(6)
        while self.done < 6:
            self.done += np.int64(1)
            images = self.generator.random((4, 3, 8, 8), np.float32)
            yield torch.from_numpy(images), torch.arange(4) % 2

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "generator": self.generator}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert type(state["done"]) is np.int64
        self.done, self.generator = state["done"], state["generator"]


class LoaderData(L.LightningDataModule):
    num_classes = 2

    def train_dataloader(self) -> Any:
        return Loader()


class Resuming(OwnModule):
    """Keeps no sums of an epoch."""

    def resume_state(self) -> dict[str, Any]:
        return {}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        assert state == {}


def numpy_sgd(parameters: Any) -> torch.optim.Optimizer:
    """One whose parameter groups hold numbers of numpy."""
    return torch.optim.SGD(parameters, lr=np.float64(0.05), momentum=np.float32(0.9))


class FromLinspace(LambdaLR):
    """A schedule as it is often written, of which each rate is a number of numpy."""

    def __init__(self, optimizer: Any) -> None:
        self.history: deque[Any] = deque(maxlen=4)
        rates = np.linspace(1, 0.1, 20)
        super().__init__(optimizer, lambda step: self._keep(rates[step]))

    def _keep(self, rate: Any) -> Any:
        self.history.append(rate)
        return rate


class Hyper(ImageClassifier):
    """A module whose hyperparameters hold a network, a partial and numbers of numpy."""

    def __init__(
        self, num_classes: int, inner: Any, optimizer: Any, rate: Any, folder: Any
    ) -> None:
        super().__init__(network(num_classes), lambda parameters: optimizer(parameters, lr=rate))
        self.save_hyperparameters()


def hyper(num_classes: int) -> L.LightningModule:
    """A module of one's own, as a configuration names it."""
    optimizer = functools.partial(torch.optim.SGD, momentum=0.5)
    return Hyper(num_classes, torch.nn.Linear(2, 2), optimizer, np.float64(0.1), Path("a"))
