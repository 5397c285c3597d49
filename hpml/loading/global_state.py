"""The random states that stay the user's, and what a trial prints, logs and draws."""

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from hpml.loading.loader_copies import MOST_PARTS, holders
from hpml.system.random_states import random_states_kept


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
    elif isinstance(thing, Mapping | list | tuple) and len(thing) <= MOST_PARTS:
        parts = thing.values() if isinstance(thing, Mapping) else thing
    elif isinstance(thing, holders()) or (callable(thing) and not isinstance(thing, type)):
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
