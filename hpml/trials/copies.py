"""Copies of a user's objects, altered for a trial, and the random states that stay theirs."""

import copy
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import DataLoader, Dataset, Sampler

# What holds random states of its own, and how many parts a list of such may have.
_HOLDERS = (L.LightningDataModule, DataLoader, Dataset, Sampler, CombinedLoader)
_MOST_PARTS = 64


def copied(thing: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; parts that cannot be copied, a lock or an open file, are shared with it."""
    try:
        copy_of_thing = copy.deepcopy(thing, dict(memo))
    except Exception:
        for part in [thing, *_modules(thing)]:
            for value in getattr(part, "__dict__", {}).values():
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:
                    for item in value if isinstance(value, list) else [value]:
                        is_tensor = isinstance(item, torch.Tensor)
                        memo[id(item)] = item.detach().clone() if is_tensor else item
        copy_of_thing = copy.deepcopy(thing, memo)
    for part, original in zip(_modules(copy_of_thing), _modules(thing), strict=True):
        if _is_compiled(original):
            part.compile()
    return copy_of_thing


def has_compiled(thing: Any) -> bool:
    """Whether a part of it calls a compiled version of itself."""
    return any(map(_is_compiled, _modules(thing)))


def _is_compiled(part: torch.nn.Module) -> bool:
    return getattr(part, "_compiled_call_impl", None) is not None


def _modules(thing: Any) -> list[torch.nn.Module]:
    return list(thing.modules()) if isinstance(thing, torch.nn.Module) else []


def alter(thing: Any, **methods: Any) -> None:
    """Gives one object methods of its own, as those of a class: Lightning looks for them there."""
    methods.setdefault("__reduce_ex__", _as_its_own_class)
    thing.__class__ = type(type(thing).__name__, (type(thing),), methods)


def _as_its_own_class(thing: Any, protocol: int) -> tuple[Any, ...]:
    """Pickled as what it was: a worker that is spawned knows the user's class alone."""
    kind = next(base for base in type(thing).__mro__ if "__reduce_ex__" not in vars(base))
    return _restored, (kind, dict(vars(thing)))


def _restored(kind: type, state: dict[str, Any]) -> Any:
    thing: Any = object.__new__(kind)
    vars(thing).update(state)
    return thing


def as_in_the_base(module: Any, hooks: Sequence[str]) -> dict[str, Any]:
    """Lightning's own methods in place of those that the module has overridden."""
    overridden = (hook for hook in hooks if is_overridden(hook, module, L.LightningModule))
    return {hook: getattr(L.LightningModule, hook) for hook in overridden}


def nothing(*_: Any, **__: Any) -> None:
    """Stub of a hook."""


def _resets(thing: Any, seen: set[int]) -> Iterator[Callable[[], Any]]:
    """Bring the random states back that loaders, samplers and data sets keep themselves."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Generator):
        yield partial(thing.set_state, thing.get_state())
    elif isinstance(thing, random.Random):
        yield partial(thing.setstate, thing.getstate())
    elif isinstance(thing, np.random.RandomState):
        yield partial(thing.set_state, thing.get_state())
    elif isinstance(thing, np.random.Generator):
        yield partial(setattr, thing.bit_generator, "state", thing.bit_generator.state)
    elif isinstance(thing, Mapping | list | tuple) and len(thing) <= _MOST_PARTS:
        for part in list(thing.values()) if isinstance(thing, Mapping) else thing:
            yield from _resets(part, seen)
    elif isinstance(thing, _HOLDERS):
        for part in list(vars(thing).values()):
            yield from _resets(part, seen)


@contextmanager
def preserve_global_state(data: Any) -> Iterator[None]:
    """Restores the random states, and hides what is printed, logged and warned meanwhile."""
    disabled = logging.root.manager.disable
    states = _collect_rng_states()  # not `isolate_rng`, which keeps them where something is raised
    of_mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    resets = list(_resets(data, set()))
    with (
        Path(os.devnull).open("w", encoding="utf-8", errors="replace") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
            _set_rng_states(states)
            if of_mps is not None:
                torch.mps.set_rng_state(of_mps)
            for reset in resets:
                reset()
