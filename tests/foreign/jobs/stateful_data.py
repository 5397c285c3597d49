"""A data set that counts and keeps what it has read, behind a sampler that is told the epoch."""

from collections.abc import Iterator
from typing import Any

import torch
from plain import fit, job, samples
from torch.utils.data import DataLoader, Dataset, Sampler

SAMPLES = [44, 44]


class Cached(Dataset[Any]):
    def __init__(self) -> None:
        self.source, self.cache, self.reads = samples(44), dict[int, Any](), 0

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.cache.setdefault(index, self.source[index])


class Shuffled(Sampler[int]):
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return 44

    def __iter__(self) -> Iterator[int]:
        order = torch.Generator().manual_seed(self.epoch)
        yield from torch.randperm(44, generator=order).tolist()


make = job(data=lambda: DataLoader(Cached(), batch_size=8, sampler=Shuffled()))

if __name__ == "__main__":
    fit(*make())
