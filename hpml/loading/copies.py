"""Copies of loaders and of what they read by, and the random states that stay the user's."""

import copy
import logging
import os
import random
import sys
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MethodType
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset, Sampler

from hpml.system.lightning_twins import twins
from hpml.system.random_states import random_states_kept

# What holds random states of its own, and how many parts a list of such may have.
_HOLDERS = (DataLoader, Dataset, Sampler)
_MOST_PARTS = 64
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
        if len(own) <= _MOST_PARTS and isinstance(own, list | dict):
            for key, value in list(own.items() if isinstance(own, dict) else enumerate(own)):
                own[key] = with_own_state(value, memo)
        return own
    if isinstance(data, MethodType):  # `collate_fn=dataset.collate`
        return MethodType(data.__func__, with_own_state(data.__self__, memo))
    return attributes_copied(data, memo) if isinstance(data, _holders()) else data


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


def _holders() -> tuple[type, ...]:
    return (*_HOLDERS, *twins(L.LightningDataModule), *twins(CombinedLoader))


def alter(thing: Any, **methods: Any) -> None:
    """Gives one object methods of its own, as those of a class: Lightning looks for them there."""
    for name in methods:
        vars(thing).pop(name, None)
    methods.setdefault("__reduce_ex__", _as_its_own_class)
    thing.__class__ = type(type(thing).__name__, (type(thing),), methods)


def _as_its_own_class(thing: Any, protocol: int) -> Any:
    """Pickled as what it was: a worker that is spawned knows the user's class alone."""
    kind = next(base for base in type(thing).__mro__ if "__reduce_ex__" not in vars(base))
    own: Any = object.__new__(kind)
    vars(own).update(vars(thing))
    make, arguments, *state = own.__reduce_ex__(protocol)
    return partial(make, *arguments), (), *state  # pickle checks a bare `make` for the class


def _resets(thing: Any, seen: set[int]) -> Iterator[Callable[[], Any]]:
    """Bring the random states back that loaders, samplers, data sets and transforms keep."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    parts: Any = ()
    if isinstance(thing, torch.Generator | np.random.RandomState):
        yield partial(thing.set_state, thing.get_state())  # type: ignore[arg-type]
    elif isinstance(thing, random.Random):
        yield partial(thing.setstate, thing.getstate())
    elif isinstance(thing, np.random.Generator):
        yield partial(setattr, thing.bit_generator, "state", thing.bit_generator.state)
    elif isinstance(thing, Mapping | list | tuple) and len(thing) <= _MOST_PARTS:
        parts = thing.values() if isinstance(thing, Mapping) else thing
    elif isinstance(thing, _holders()) or (callable(thing) and not isinstance(thing, type)):
        parts = getattr(thing, "__dict__", {}).values()
    for part in list(parts):
        yield from _resets(part, seen)


@contextmanager
def preserve_global_state(data: Any) -> Iterator[None]:
    """Restores the random states, and hides what is printed, logged and warned meanwhile."""
    with ExitStack() as stack:
        for reset in list(_resets(data, set())):
            stack.callback(reset)
        stack.enter_context(random_states_kept())
        if torch.backends.mps.is_available():
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        stack.callback(logging.disable, logging.root.manager.disable)
        nowhere = Path(os.devnull).open("w", encoding="utf-8", errors="replace")  # noqa: SIM115
        for context in (nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere)):
            stack.enter_context(context)
        stack.enter_context(_displays_hidden())
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        logging.disable(logging.WARNING)
        yield


def _displays_hidden() -> AbstractContextManager[Any]:
    """Within it a notebook's cell shows nothing: a bar puts boxes there, whatever stdout is."""
    if "IPython" not in sys.modules:
        return nullcontext()
    from IPython.utils.capture import capture_output

    return capture_output(stdout=False, stderr=False)


@contextmanager
def seeded_folder(seed: int, data: Any) -> Iterator[Path]:
    """A folder for what a trial writes, which is lost like what it prints and draws."""
    with TemporaryDirectory(prefix="hpml-") as folder, preserve_global_state(data):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield Path(folder)
