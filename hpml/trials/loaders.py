"""A job's loaders, whatever it calls so, and the batches they give."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader


def with_workers_of_its_own(data: Any) -> Any:
    """Loaders that share all but the processes that persist in the user's."""
    if isinstance(data, Mapping):
        return {key: with_workers_of_its_own(loader) for key, loader in data.items()}
    if isinstance(data, list | tuple):
        return [with_workers_of_its_own(loader) for loader in data]
    if isinstance(data, CombinedLoader):
        return CombinedLoader(with_workers_of_its_own(data.iterables), data._mode)
    if not isinstance(data, DataLoader):
        return data
    loader = copy.copy(data)
    loader._iterator = None
    return loader


def data_loaders(data: Any) -> Iterator[DataLoader[Any]]:
    """torch's loaders among a job's, wherever they are."""
    if isinstance(data, DataLoader):
        yield data
    elif isinstance(data, _Combined):
        yield from data_loaders(data.loader.flattened)
    elif isinstance(data, Mapping | list | tuple):
        for one in data.values() if isinstance(data, Mapping) else data:
            yield from data_loaders(one)


def end_workers(data: Any) -> None:
    """Those that persist would still load when the next trial has begun."""
    for loader in data_loaders(data):
        iterator: Any = loader._iterator
        loader._iterator = None
        if iterator is not None:
            iterator._shutdown_workers()


def one_loader(data: Any) -> Any:
    """A loader as it is; several as Lightning combines them, without its numbers beside a batch."""
    if isinstance(data, Mapping | list | tuple):
        data = CombinedLoader(data, "max_size_cycle")
    return _Combined(data) if isinstance(data, CombinedLoader) else data


class _Combined:
    def __init__(self, loader: CombinedLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, _, _ in iter(self.loader))

    def __len__(self) -> int:
        iter(self.loader)  # it has no length before
        return len(self.loader)


def _tensors_in(thing: Any) -> Iterator[torch.Tensor]:
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        yield from _tensors_in(list(thing.values()))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from _tensors_in(part)


def bytes_in(batch: Any) -> int:
    """Of all tensors in it."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors_in(batch))


def shapes(batch: Any) -> list[tuple[int, ...]]:
    """Of all tensors in it."""
    return [tuple(tensor.shape) for tensor in _tensors_in(batch)]


def versions(batches: Sequence[Any]) -> list[int]:
    """Torch counts how often a tensor was written to."""
    return [tensor._version for tensor in _tensors_in(list(batches))]
