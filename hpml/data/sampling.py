"""Random numbers as hashes of what they belong to: seed, epoch, and a sample's place or index.

torch draws from streams whose state depends on the number of workers and on what was drawn before.
Here each random number is a hash of what it belongs to, so batches are the same whatever the
number of workers, processes or restarts.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler

# A sampler gives keys, not indices: the epoch travels with the index to the worker that draws the
# crop, so a worker that outlives an epoch cannot draw for the wrong one.
EPOCH_SHIFT = 32
INDEX_MASK = (1 << EPOCH_SHIFT) - 1

SHUFFLE = 1  # separate the order of the samples from their augmentation
AUGMENT = 2


def pack(epoch: int | np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Keys of samples in an epoch, int64: the epoch above bit 32, the index below."""
    return (epoch << EPOCH_SHIFT) | indices.astype(np.int64)


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return keys >> EPOCH_SHIFT, keys & INDEX_MASK


def hash64(*words: int | np.ndarray) -> np.ndarray:
    """A well-mixed uint64 for each tuple of integers, of which the last may be an array.

    Each word is added to the state and mixed by the finaliser of SplitMix64 (Steele et al., Fast
    Splittable Pseudorandom Number Generators, OOPSLA 2014), a bijection of 64 bits: hashes of
    words that differ in their last place only never collide.
    """
    *prefix, last = words
    state = _prefix_state(*prefix) if prefix else np.zeros(1, np.uint64)  # type: ignore[arg-type]
    state = state + np.asarray(last, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@functools.lru_cache(maxsize=64)
def _prefix_state(*words: int) -> np.ndarray:
    """The state after the words that a whole run or epoch shares."""
    return hash64(*words)


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """A random order of `range(size)`, int64, a function of seed and epoch alone."""
    return np.argsort(hash64(SHUFFLE, seed, epoch, np.arange(size)))


class EpochSampler(DistributedSampler[int]):
    """The keys of an epoch's samples in order, for one of `world_size` ranks.

    Position p of the epoch goes to rank p modulo `world_size`. With `shuffle`, the ranks get
    equally many samples: the last `size % world_size` positions of an epoch are left out, other
    samples in each epoch. Without it nothing is left out and nothing is repeated, so a rank may
    get one sample less than another.

    It derives from DistributedSampler because Lightning would otherwise wrap it and shard twice.
    """

    def __init__(
        self, size: int, *, seed: int, shuffle: bool, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(range(size), world_size, rank, shuffle, seed)  # type: ignore[arg-type]
        self.size = size - size % world_size if shuffle else size
        self.total_size = self.size
        # what `len` gives, also where a pass starts in the middle of an epoch
        self.num_samples = (self.size - rank + world_size - 1) // world_size
        self.start = 0
        self.stop = self.size
        self._next_stop = self.size

    def set_epoch(self, epoch: int) -> None:
        """Begins an epoch; where it is the epoch of `set_position`, its start stays."""
        if epoch != self.epoch:
            self.start = 0
        self.epoch = epoch

    def set_position(self, epoch: int, start: int) -> None:
        """Lets the next pass begin `start` samples, over all ranks, into an epoch."""
        if not 0 <= start <= self.size or start % self.num_replicas:
            raise ValueError(
                f"start must be a multiple of {self.num_replicas} up to {self.size}, got {start}"
            )
        self.epoch = epoch
        self.start = start

    def end_at(self, stop: int, next_stop: int | None = None) -> None:
        """Ends each pass so many samples, over all ranks, into an epoch; the next one earlier."""
        self.stop = min(stop, self.size)
        self._next_stop = self.stop if next_stop is None else min(next_stop, self.stop)

    @property
    def is_cut(self) -> bool:
        """Whether a pass ends before the epoch does."""
        return self.stop < self.size

    def __iter__(self) -> Iterator[Any]:
        stop, self._next_stop = self._next_stop, self.stop
        return iter(self._keys()[self.start + self.rank : stop : self.num_replicas].tolist())

    def _keys(self) -> np.ndarray:
        """Those of all ranks, in the epoch's order."""
        if self.shuffle:
            order = permutation(self.seed, self.epoch, len(self.dataset))[: self.size]  # type: ignore[arg-type]
        else:
            order = np.arange(self.size)
        return pack(self.epoch, order)


class RepeatingSampler(EpochSampler, SequentialSampler):
    """The samples as they lie, each epoch as the first: what `overfit_batches` asks for.

    It derives from SequentialSampler because Lightning would otherwise put one in its place, which
    knows of no end and of no middle of an epoch.
    """

    def _keys(self) -> np.ndarray:
        return pack(0, np.arange(self.size))


def cut(loader: DataLoader[Any], limit: int | float, next_most: float | None = None) -> None:
    """Has a loader of ours make no batch beyond a limit of Lightning's; another stays as it is.

    `limit` is a number of batches, or as a float a part of them. Its length stays that of all, by
    which Lightning reckons. The next pass has at most `next_most` batches.
    """
    sampler, batch_size = loader.sampler, loader.batch_size
    if isinstance(sampler, EpochSampler) and batch_size is not None:
        batches = int(len(loader) * limit) if isinstance(limit, float) else limit
        step = batch_size * sampler.num_replicas
        first = batches if next_most is None else min(batches, next_most)
        sampler.end_at(batches * step, int(first * step))
