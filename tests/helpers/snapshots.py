"""What a job looks like, for comparing it with what it looked like before."""

import multiprocessing
import threading
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.seed import _collect_rng_states
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset, Sampler

from helpers.jobs import Job

HOLDERS = (L.LightningDataModule, DataLoader, CombinedLoader, Dataset, Sampler)


def frozen(thing: Any) -> Any:
    """A value that equals another one only where every bit is the same."""
    if isinstance(thing, torch.Tensor):
        return thing.dtype, thing.shape, thing.detach().cpu().numpy().tobytes()
    if isinstance(thing, dict):
        return {key: frozen(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [frozen(value) for value in thing]
    if isinstance(thing, np.ndarray):
        return thing.tobytes()
    return repr(thing)


def attributes(thing: Any) -> dict[str, Any]:
    """Which objects they are, and what is in the plain ones."""
    return {key: (id(value), frozen(value)) for key, value in vars(thing).items()}


def holders(data: Any) -> list[Any]:
    """The data modules, loaders, samplers and data sets in it."""
    found: dict[int, Any] = {}
    things = [data]
    while things:
        thing = things.pop()
        if isinstance(thing, HOLDERS) and id(thing) not in found:
            found[id(thing)] = thing
            things += vars(thing).values()
        elif isinstance(thing, dict | list | tuple):
            things += thing.values() if isinstance(thing, dict) else thing
    return [*found.values()]


def everything(job: Job, folder: Path) -> dict[str, Any]:
    """All that a diagnosis could have changed."""
    fitting, module, data = job
    every: list[Any] = fitting.callbacks  # type: ignore[attr-defined]
    drawing = (getattr(each, "generator", None) for each in (data, getattr(data, "sampler", None)))
    return {
        "weights": frozen(module.state_dict()),
        "gradients": [frozen(parameter.grad) for parameter in module.parameters()],
        "modes": [part.training for part in module.modules()],
        "module": attributes(module),
        "optimizers": [frozen(one.state_dict()) for one in fitting.optimizers],
        "trainer": attributes(fitting),
        "progress": (fitting.current_epoch, frozen(fitting.fit_loop.state_dict())),
        "steps": fitting.global_step,
        "callbacks": [(id(one), attributes(one), frozen(one.state_dict())) for one in every],
        "random": frozen(_collect_rng_states()),
        "data": [attributes(each) for each in holders(data)],
        "generators": [frozen(each.get_state()) for each in drawing if each is not None],
        "files": sorted(str(file) for file in folder.rglob("*")),
        "warnings": list(warnings.filters),
        "workers": sorted(one.pid or 0 for one in multiprocessing.active_children()),
        # tqdm's own watches over all bars of a process
        "threads": {one.name for one in threading.enumerate() if type(one).__name__ != "TMonitor"},
    }
