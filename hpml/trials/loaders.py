"""A job's loaders, whatever it calls so, and the batches they give."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
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
        for part in data.values() if isinstance(data, Mapping) else data:
            yield from data_loaders(part)


def batches_ahead(data: Any) -> int:
    """Batches that the workers keep ready."""
    return sum(each.num_workers * (each.prefetch_factor or 0) for each in data_loaders(data))


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


def tensors_in(batch: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in whichever of Lightning's collections they are."""
    tensors: list[torch.Tensor] = []
    apply_to_collection(batch, torch.Tensor, tensors.append, allow_frozen=True)
    return tensors
