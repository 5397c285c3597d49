"""Copies of loaders and of what they read by, with states of their own."""

import copy
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from types import MethodType
from typing import Any

import lightning as L
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset, Sampler

from hpml.system.lightning_packages import twins

_HOLDERS = (DataLoader, Dataset, Sampler)
MOST_PARTS = 64  # of a list of such
# What such keep of what they have read or counted, and may add to.
_CONTAINERS = (list, dict, set, deque, defaultdict, OrderedDict, Counter)


def with_own_state(data: Any, memo: dict[int, Any]) -> Any:
    """Data with attributes of its own: a copy's counters, caches and epoch are not the original's.

    So are loaders, samplers, data sets and data modules in it, the lists and dictionaries of each,
    and what their methods are bound to. What these hold, tensors and files say, is shared.
    """
    if id(data) in memo:
        return memo[id(data)]
    if type(data) in _CONTAINERS:
        own = memo[id(data)] = copy.copy(data)
        if len(own) <= MOST_PARTS and isinstance(own, list | dict):
            for key, value in list(own.items() if isinstance(own, dict) else enumerate(own)):
                own[key] = with_own_state(value, memo)
        return own
    if isinstance(data, MethodType):  # `collate_fn=dataset.collate`
        return MethodType(data.__func__, with_own_state(data.__self__, memo))
    return attributes_copied(data, memo) if isinstance(data, holders()) else data


def attributes_copied(thing: Any, memo: dict[int, Any]) -> Any:
    """An object of the same class whose attributes have states of their own, as above.

    What is of a class written in C stays what it is.
    """
    try:
        own = object.__new__(type(thing))
    except TypeError:
        return thing
    memo[id(thing)] = own
    for name in _slots(type(thing)):
        with suppress(AttributeError):  # it may be empty
            object.__setattr__(own, name, with_own_state(getattr(thing, name), memo))
    for name, value in getattr(thing, "__dict__", {}).items():  # a DataLoader refuses setattr
        vars(own)[name] = with_own_state(value, memo)
    return own


def _slots(kind: type) -> Iterator[str]:
    """The attributes that an object of the class has outside of its dictionary."""
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield f"_{base.__name__.lstrip('_')}{name}" if _is_private(name) else name


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def holders() -> tuple[type, ...]:
    """The classes of what holds random states of its own."""
    return (*_HOLDERS, *twins(L.LightningDataModule), *twins(CombinedLoader))
