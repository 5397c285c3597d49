import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpml.data.sampling import EpochSampler, hash64, pack, permutation, unpack


def test_the_hash() -> None:
    """Golden values, which every run's batches rest on; each bit is set in half of the cases."""
    golden = [16613338946343043936, 937349279089814987, 10071245268460305800]
    assert hash64(1, 2, np.arange(3)).tolist() == golden
    # as its reference implementation prints with seed 1234567
    assert hash64(1234567).tolist() == [6457827717110365317]
    keys = itertools.product(range(8), range(8))
    hashes = np.concatenate([hash64(seed, epoch, np.arange(512)) for seed, epoch in keys])
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    # 32,768 draws: the standard deviation of a mean is 0.0028
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.015
    assert len(np.unique(hashes)) == len(hashes)


@given(st.integers(0, 2**31 - 1), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9))
def test_a_key_holds_epoch_and_index(epoch: int, indices: list[int]) -> None:
    """Packing loses nothing."""
    epochs, unpacked = unpack(pack(epoch, np.array(indices)))
    assert unpacked.tolist() == indices
    assert set(epochs.tolist()) == {epoch}


def indices_of(sampler: EpochSampler) -> list[int]:
    return unpack(np.array(list(sampler), np.int64))[1].tolist()


def of_ranks(size: int, world_size: int, shuffle: bool) -> list[EpochSampler]:
    settings = {"seed": 7, "shuffle": shuffle, "world_size": world_size}
    return [EpochSampler(size, rank=rank, **settings) for rank in range(world_size)]


def test_an_epoch_is_a_permutation() -> None:
    """Another one for another epoch or seed; all ranks begin at the same step."""
    assert sorted(permutation(0, 0, 100).tolist()) == list(range(100))
    assert (permutation(0, 0, 100) == permutation(0, 0, 100)).all()
    assert (permutation(0, 0, 100) != permutation(0, 1, 100)).any()
    assert (permutation(0, 0, 100) != permutation(1, 0, 100)).any()
    sampler = EpochSampler(8, seed=0, shuffle=True, world_size=2)
    with pytest.raises(ValueError, match="multiple of 2"):
        sampler.set_position(0, 3)


@given(st.integers(1, 50), st.integers(1, 5), st.integers(0, 3))
def test_ranks_share_an_epoch_exactly(size: int, world_size: int, epoch: int) -> None:
    """The shards interleave to the single rank's order; only the tail is left out."""
    samplers = of_ranks(size, world_size, shuffle=True)
    for sampler in samplers:
        sampler.set_epoch(epoch)
    shards = [indices_of(sampler) for sampler in samplers]
    assert all(len(shard) == len(sampler) for shard, sampler in zip(shards, samplers, strict=True))
    together = [index for step in zip(*shards, strict=True) for index in step]
    assert together == permutation(7, epoch, size).tolist()[: size - size % world_size]


@given(st.integers(0, 50), st.integers(1, 5))
def test_evaluation_sees_every_sample_once(size: int, world_size: int) -> None:
    """Without shuffling no sample is left out and none is repeated over the ranks."""
    samplers = of_ranks(size, world_size, shuffle=False)
    shards = [index for sampler in samplers for index in indices_of(sampler)]
    assert sorted(shards) == list(range(size))
    assert [len(sampler) for sampler in samplers] == [len(indices_of(s)) for s in samplers]


@given(st.integers(1, 40), st.integers(1, 4), st.data())
def test_a_pass_can_begin_anywhere(size: int, world_size: int, data: st.DataObject) -> None:
    """From any position on, the rest of the epoch follows; its length stays the whole epoch's."""
    sampler = EpochSampler(size, seed=3, shuffle=True, world_size=world_size)
    sampler.set_epoch(2)
    whole, length = indices_of(sampler), len(sampler)
    consumed = data.draw(st.integers(0, length))
    sampler.set_position(2, consumed * world_size)
    sampler.set_epoch(2)  # as Lightning does when the epoch resumes
    assert indices_of(sampler) == whole[consumed:]
    assert len(sampler) == length
    sampler.set_epoch(3)
    assert len(indices_of(sampler)) == length


@given(st.integers(1, 40), st.integers(1, 4), st.booleans(), st.data())
def test_a_pass_can_end_anywhere(
    size: int, world_size: int, shuffle: bool, data: st.DataObject
) -> None:
    """It begins as the whole epoch does, on each rank; only the next one may end earlier yet."""
    for sampler in of_ranks(size, world_size, shuffle):
        whole, length = indices_of(sampler), len(sampler)
        most, next_most = (data.draw(st.integers(0, length + 1)) for _ in range(2))
        sampler.end_at(most * world_size, next_most * world_size)
        passes = [indices_of(sampler) for _ in range(3)]
        assert passes == [whole[: min(most, next_most)], whole[:most], whole[:most]]
        assert len(sampler) == length
        begun = data.draw(st.integers(0, sampler.size // world_size))
        sampler.set_position(0, begun * world_size)
        assert indices_of(sampler) == whole[begun:most]
