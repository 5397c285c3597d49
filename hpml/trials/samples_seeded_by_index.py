"""Samples whose random numbers depend on their index alone, wherever and whenever they are made."""

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from hpml.system.random_states import random_states_kept


class ByIndex(Dataset[Any]):
    """A data set whose samples draw random numbers by their index, and leave the states alone."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        if hasattr(dataset, "__getitems__"):
            self.__getitems__ = self._items

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        with _drawing(index):
            return self.dataset[index]

    def _items(self, indices: Sequence[Any]) -> Any:
        with _drawing(indices[0] if indices else 0):
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


@contextmanager
def _drawing(index: Any) -> Iterator[None]:
    """Random states that an index seeds, within it."""
    seed = zlib.crc32(repr(index).encode())  # the same in each process
    with random_states_kept(of_gpus=False):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        yield
