"""Copies of data sets and transforms, each of whose calls is timed."""

import copy
import functools
import random
from collections import Counter
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from hpml.loading.loader_copies import with_own_state
from hpml.loading.stage_clock import StageClock
from hpml.system.patch_object import alter

_MOST_PARTS = 64  # of a list of transforms
_FUNCTIONS = (FunctionType, BuiltinFunctionType, functools.partial)
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


class TimedCopies:
    """Times what a copy of a data set is made of: other data sets, and transforms by their names.

    A transform is any attribute that can be called, in whichever lists and other transforms. Timed
    are copies: their counters and random states are their own. `loading_stages` of a data set's
    class names the stages of its methods.

    Args:
        clock: by which they are timed.
        memo: the copies of data sets by the ids of those that they are of, as `with_own_state` has
            it: methods that are bound to one are bound to its copy.
    """

    def __init__(self, clock: StageClock, memo: dict[int, Any]) -> None:
        self._clock = clock
        self._memo = memo
        self._copies: dict[int, tuple[Any, Any]] = {}  # each with its original, whose id stays its
        self._names: Counter[str] = Counter()

    def time_data_set(self, own: Any, is_outermost: bool = True) -> None:
        """Times the parts of a data set that is a copy; of another one's parts, itself too."""
        if id(own) in self._copies:
            return
        self._copies[id(own)] = own, own
        kind, timed = type(own), self._clock.around
        stages = getattr(kind, "loading_stages", {})
        methods = {name: timed(getattr(kind, name), stage) for name, stage in stages.items()}
        if not is_outermost:
            for name in ("__getitem__", "__getitems__"):
                if callable(getattr(kind, name, None)):
                    methods[name] = timed(getattr(kind, name), stage_of(own))
            if isinstance(own, IterableDataset):
                methods["__iter__"] = self._clock.around_each(kind.__iter__, stage_of(own))
        for name, value in list(getattr(own, "__dict__", {}).items()):
            vars(own)[name] = self._part(value)
        if methods:
            _alter(own, methods)

    def timed(self, part: Any, stage: str | None = None) -> Any:
        """A copy of what can be called, timed; itself where it cannot be copied."""
        if id(part) not in self._copies:
            self._copies[id(part)] = part, part  # while it is copied, and where that fails
            self._copies[id(part)] = part, self._timed(part, stage or self._name(part))
        return self._copies[id(part)][1]

    def _timed(self, part: Any, stage: str) -> Any:
        if isinstance(part, MethodType):
            part = MethodType(part.__func__, self._owner(part.__self__))
        if isinstance(part, (MethodType, *_FUNCTIONS)):
            return self._clock.around(part, stage)
        if not hasattr(part, "__dict__") or isinstance(part, torch.jit.ScriptModule):
            return part
        try:
            own = self._copy(part)
        except TypeError:  # of a class written in C
            return self._clock.around(part, stage)
        return (
            own
            if _alter(own, {"__call__": self._clock.around(type(part).__call__, stage)})
            else part
        )

    def _owner(self, owner: Any) -> Any:
        """What a method is bound to: a copy of it, which may count and draw."""
        if isinstance(owner, Dataset):
            return with_own_state(owner, self._memo) if self._is_users(owner) else owner
        if isinstance(owner, type) or not hasattr(owner, "__dict__"):
            return owner
        if id(owner) not in self._copies:
            self._copies[id(owner)] = owner, owner
            with suppress(TypeError):
                self._copies[id(owner)] = owner, self._copy(owner)
        return self._copies[id(owner)][1]

    def _copy(self, part: Any) -> Any:
        """An object of the same class, whose parts are timed. Raises TypeError for one of C's."""
        own = object.__new__(type(part))
        learns = isinstance(part, torch.nn.Module) and any(True for _ in part.parameters())
        for name, value in vars(part).items():  # a network's layers are no stages of their own
            vars(own)[name] = value if learns else self._part(value)
        return own

    def _is_users(self, dataset: Any) -> bool:
        return all(dataset is not own for own in self._memo.values())

    def _part(self, value: Any) -> Any:
        if isinstance(value, type | Sampler | DataLoader):
            return value
        if isinstance(value, Dataset):
            own = with_own_state(value, self._memo) if self._is_users(value) else value
            self.time_data_set(own, is_outermost=False)
            return own
        if isinstance(value, _GENERATORS):
            return _own_generator(value)
        if isinstance(value, list | dict) and len(value) <= _MOST_PARTS:
            own = copy.copy(value)
            for key, part in list(own.items() if isinstance(own, dict) else enumerate(own)):
                own[key] = self._part(part)
            return own
        if type(value) is tuple and len(value) <= _MOST_PARTS:
            return tuple(map(self._part, value))
        return self.timed(value) if callable(value) else value

    def _name(self, part: Any) -> str:
        """Its function's or its class's; of a second one, with its number."""
        while isinstance(part, functools.partial):
            part = part.func
        name = getattr(part, "__name__", None) or type(part).__name__
        name = "a lambda" if name == "<lambda>" else name
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name} ({self._names[name]})"


def stage_of(dataset: Any) -> str:
    """What a data set does itself, without the stages within it."""
    is_stream = isinstance(dataset, IterableDataset)
    return f"{type(dataset).__name__}.{'__iter__' if is_stream else '__getitem__'}"


def _alter(own: Any, methods: dict[str, Any]) -> bool:
    """Whether it could be: not of a class with slots, or one that refuses others below it."""
    try:
        alter(own, **methods)
    except Exception:
        return False
    return True


def _own_generator(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.clone_state()
    return copy.deepcopy(generator)
