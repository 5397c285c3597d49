"""Samples whose random numbers depend on their index alone, wherever and whenever they are made."""

import random
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


class ByIndex(Dataset[Any]):
    """A data set whose samples draw random numbers by their index, and leave the states alone."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        if hasattr(dataset, "__getitems__"):
            self.__getitems__ = self._items

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        with _Drawing(index):
            return self.dataset[index]

    def _items(self, indices: Sequence[Any]) -> Any:
        with _Drawing(indices[0] if indices else 0):
            return self.dataset.__getitems__(indices)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets it on the data set, as a `worker_init_fn` would."""
        if name in ("dataset", "__getitems__"):
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)


class _Drawing:
    """Random states that an index seeds, within it."""

    def __init__(self, index: Any) -> None:
        self._seed = zlib.crc32(repr(index).encode())  # the same in each process

    def __enter__(self) -> None:
        self._before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(self._seed)
        np.random.seed(self._seed)
        torch.default_generator.manual_seed(self._seed)

    def __exit__(self, *_: Any) -> None:
        python, numpy, of_torch = self._before
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(of_torch)
