"""The samples of batches of every kind: the right number, or none."""

import random
from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers.delays import silent
from helpers.foreign import NAMES, load
from helpers.jobs import trainer
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler

from hpml.callbacks.batch_size import LoaderBatches, said_in

ODD = "batch_class batch_dataclass combined detection_lists dict_of_lists original_size token"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(tuple(ODD.split()))])
def test_jobs_with_odd_batches(name: str) -> None:
    """Whole trainings count the samples that the job says it has, in each epoch."""
    job, timer = load(name), silent()
    fitting, module, data = job.make(callbacks=[timer])
    fitting.fit(module, data)
    assert [epoch.samples for epoch in timer.epochs] == job.SAMPLES


def counted(loader: Any, epochs: int = 2, is_last: bool = False) -> list[int | None]:
    """What is counted of a loader's batches in some epochs, each of one batch if it `is_last`."""
    batches, samples = LoaderBatches(loader), []
    for _ in range(epochs):
        iterator = iter(loader)
        samples += [batches.samples(batch, iterator, is_last=is_last) for batch in iterator]
    return samples


class Stream(IterableDataset[Any]):
    """No length."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter(self.samples)


@dataclass
class Pair:
    name: str
    image: torch.Tensor


class Slotted:
    """Shows nothing of what it holds."""

    __slots__ = ("hidden",)

    def __init__(self, samples: Any) -> None:
        self.hidden = samples


class Graphs:
    """Like PyTorch Geometric's batches: nodes of all graphs in one tensor, and their number."""

    def __init__(self, samples: Any) -> None:
        self.x = torch.rand(3 * len(samples) + 1, 2)
        self.num_graphs = len(samples)


def image(index: int) -> torch.Tensor:
    return torch.zeros(3, 5 + index % 4, 6)


# each makes a batch of a list of indices
COLLATES: dict[str, Callable[[list[int]], Any]] = {
    "a list": lambda s: [image(i) for i in s],
    "two tuples": lambda s: ([image(i) for i in s], tuple({"size": torch.ones(2)} for _ in s)),
    "a dictionary of lists": lambda s: {"size": (4, 6), "images": [image(i) for i in s], "id": s},
    "a mapping": lambda s: UserDict(ids=torch.zeros(len(s), 7), mask=torch.zeros(len(s), 7)),
    "a dataclass": lambda s: Pair("batch", torch.zeros(len(s), 3, 4, 4)),
    "an object": lambda s: SimpleNamespace(size=(9, 9), boxes=[torch.zeros(i % 9, 4) for i in s]),
    "pixels first": lambda s: (torch.zeros(4), torch.zeros(len(s), 4), torch.zeros(len(s))),
    "graphs": Graphs,
    "packed": lambda s: pack_sequence([torch.zeros(1 + i % 5) for i in s], enforce_sorted=False),
    "nested": lambda s: [{"view": [torch.zeros(len(s), 2), torch.zeros(len(s), 3)]}, None],
    "texts": lambda s: {"prompt": "one for all", "texts": [str(i) for i in s]},
}
STREAMED = COLLATES | {"texts and labels": lambda s: ([str(i) for i in s], torch.tensor(s))}


@pytest.mark.parametrize("collate", COLLATES.values(), ids=COLLATES)
@pytest.mark.parametrize("drop_last", [False, True])
def test_what_a_loader_has_drawn(collate: Any, drop_last: bool) -> None:
    """The last batch too, whatever it is made into."""
    loader = DataLoader(range(40), 12, shuffle=True, drop_last=drop_last, collate_fn=collate)  # type: ignore[arg-type, var-annotated]
    assert counted(loader) == [12, 12, 12, *([] if drop_last else [4])] * 2


@pytest.mark.parametrize("collate", STREAMED.values(), ids=STREAMED)
def test_a_stream_ends_with_what_the_batch_shows(collate: Any) -> None:
    """Where no length is known, the places that showed the batch size show the rest."""
    assert counted(DataLoader(Stream(range(40)), 12, collate_fn=collate)) == [12, 12, 12, 4] * 2


def test_a_batch_that_shows_nothing() -> None:
    """Of a loader with an end it is what was drawn; of one without nobody knows the last batch."""
    assert counted(DataLoader(range(10), 4, collate_fn=Slotted), 1) == [4, 4, 2]  # type: ignore[arg-type]
    assert counted(DataLoader(Stream(range(10)), 4, collate_fn=Slotted), 1) == [None] * 3
    whole = DataLoader(Stream(range(10)), 4, drop_last=True, collate_fn=Slotted)
    assert counted(whole, 1) == [4, 4]


@pytest.mark.parametrize(
    ("samples", "size"),
    [(torch.rand(7, 3, 4), 3), (torch.rand(7, 2), 2), ([("a", 1, torch.rand(3))] * 7, 3)],
)
def test_streams_by_torchs_own_collate(samples: Any, size: int) -> None:
    """Channels or fields as many as a batch has samples are not taken for samples."""
    full = [size] * (7 // size)
    assert counted(DataLoader(Stream(samples), size)) == [*full, 1] * 2
    assert counted(DataLoader(samples, size)) == [*full, 1] * 2


def test_as_many_channels_as_samples() -> None:
    """Where the places of a stream disagree there is no number; a loader with an end knows."""
    collate: Any = list
    samples = torch.rand(8, 3, 4, 4)
    assert counted(DataLoader(samples, 3, collate_fn=collate)) == [3, 3, 2] * 2  # type: ignore[arg-type]
    assert counted(DataLoader(Stream(samples), 3, collate_fn=collate), 1) == [3, 3, None]


def test_a_collate_that_drops_samples() -> None:
    """A batch has those that are left, as it shows at the places of the first batch."""

    def collate(samples: list[int]) -> Any:
        kept = [index for index in samples if index != 9]
        return [image(index) for index in kept], torch.tensor(kept)

    assert counted(DataLoader(range(20), 8, collate_fn=collate), 1) == [8, 7, 4]  # type: ignore[arg-type]


def test_time_before_samples() -> None:
    """A sequence's length is not taken for the number of samples, not even once."""

    def collate(samples: list[int]) -> Any:
        return pad_sequence([torch.zeros(length) for length in samples])

    lengths = [4] * 4 + [3] * 4 + [9] * 4
    assert counted(DataLoader(lengths, 4, collate_fn=collate), 1) == [4, None, None]  # type: ignore[arg-type]
    assert counted(DataLoader(lengths[::-1], 4, collate_fn=collate), 1) == [4, None, 4]  # type: ignore[arg-type]
    assert counted(DataLoader(Stream(lengths), 4, collate_fn=collate), 1) == [4, None, None]


def test_tokens_of_all_samples_in_one_tensor() -> None:
    """More than were drawn is no contradiction; fewer is one."""

    def packed(per_sample: int) -> Any:
        return lambda samples: {"tokens": torch.zeros(per_sample * len(samples), 4)}

    assert counted(DataLoader(range(10), 4, collate_fn=packed(9)), 1) == [4, 4, 2]  # type: ignore[arg-type]
    pooled = DataLoader(range(10), 4, collate_fn=lambda samples: torch.zeros(1, 4))  # type: ignore[arg-type, var-annotated]
    assert counted(pooled, 1) == [None] * 3


class Budget:
    """Lists of indices of differing lengths."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0, 1, 2], [3], [4, 5]])


@pytest.mark.parametrize(
    ("batches", "collate", "expected"),
    [
        (list(Budget()), list, [3, 1, 2]),
        (Budget(), None, [3, 1, 2]),
        (Budget(), list, [None] * 3),
        (Budget(), Graphs, [3, 1, 2]),
        (BatchSampler(RandomSampler(range(7)), 3, False), list, [3, 3, 1]),
    ],
)
def test_batch_samplers(batches: Any, collate: Any, expected: Any) -> None:
    """A list of batches, torch's collate, or the batch itself tells the number; else nothing."""
    samples: Any = range(7)
    assert counted(DataLoader(samples, batch_sampler=batches, collate_fn=collate), 1) == expected


def test_without_automatic_batching() -> None:
    """A sampler that gives batches is asked; a data set that gives them is not guessed at."""
    samples: Any = torch.rand(7, 3, 4, 4)
    by_sampler = BatchSampler(RandomSampler(range(7)), 3, False)
    assert counted(DataLoader(samples, None, sampler=by_sampler)) == [3, 3, 1] * 2
    assert counted(DataLoader(samples, None), 1) == [None] * 7
    assert counted(DataLoader(Stream([torch.rand(5, 2)] * 3), None), 1) == [None] * 3


def test_a_loader_of_ones_own() -> None:
    """With `batch_size` it is what the batches show; without it nobody knows."""
    batches = [(torch.rand(size, 5), torch.rand(size)) for size in (4, 4, 1)]

    class Own(SimpleNamespace):
        def __iter__(self) -> Iterator[Any]:
            return iter(batches)

    assert counted(Own(batch_size=4)) == [4, 4, 1] * 2
    assert counted(Own(batch_size=8), 1) == counted(Own(), 1) == [None] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_out_of_order(workers: int) -> None:
    """Whose last batch may come before another: the batch itself shows which it is."""
    loader: Any = DataLoader(torch.rand(10, 6), 4, num_workers=workers, in_order=not workers)
    assert sorted(counted(loader, 1)) == [2, 4, 4]  # type: ignore[type-var]


@pytest.mark.parametrize("batch", [torch.rand(5, 3), [torch.rand(4)] * 4, "text", None, [], {}, 3])
def test_a_batch_alone_says_nothing(batch: Any) -> None:
    """Without a loader its lengths may be anything's; no object of any kind is an error."""
    assert said_in(batch) is None


class Plain(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        leaves = batch.values() if isinstance(batch, dict) else batch
        leaves = [batch] if isinstance(batch, torch.Tensor) else leaves
        return torch.stack([self.layer(leaf).mean() for leaf in leaves if leaf is not None]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Fetching(Plain):
    """Takes its batches from the loader itself."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead

    def training_step(self, dataloader_iter: Any) -> torch.Tensor:  # type: ignore[override]
        batch, index, _ = next(dataloader_iter)
        if index == 0:
            for _ in range(self.ahead):
                batch, *_ = next(dataloader_iter)
        return self.layer(batch).mean()


class Doubling(Plain):
    """A hook makes two views of each sample."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return torch.cat([batch, batch])


def rows(size: int, batch_size: int, **settings: Any) -> Any:
    return DataLoader(torch.rand(size, 3), batch_size, **settings)  # type: ignore[arg-type]


def streamed(size: int, batch_size: int) -> Any:
    return DataLoader(Stream(torch.rand(size, 3)), batch_size)


@pytest.mark.parametrize(
    ("module", "data", "settings", "samples"),
    [
        (Plain, lambda: rows(10, 4), {}, 10),
        (Plain, lambda: rows(10, 4), {"accumulate_grad_batches": 2}, 10),
        (Plain, lambda: rows(10, 4), {"limit_train_batches": 2}, 8),
        (Plain, lambda: rows(10, 4), {"overfit_batches": 1}, 4),
        (Plain, lambda: rows(10, 4), {"reload_dataloaders_every_n_epochs": 1}, 10),
        (Plain, lambda: streamed(10, 4), {}, 10),
        (Plain, lambda: [rows(10, 4), streamed(7, 2)], {}, 21),
        (Plain, lambda: {"a": rows(8, 4), "b": streamed(7, 2)}, {}, 23),
        (Plain, lambda: CombinedLoader([rows(10, 4), rows(9, 8)], "max_size"), {}, 19),
        (Doubling, lambda: rows(10, 4), {}, 10),
        (Doubling, lambda: streamed(10, 4), {}, None),
        (lambda: Fetching(0), lambda: rows(10, 4), {}, 10),
        (lambda: Fetching(1), lambda: rows(10, 4), {}, None),
    ],
)
def test_fits(module: Any, data: Any, settings: Any, samples: Any, tmp_path: Path) -> None:
    """What a Trainer does with loaders and batches is counted as it is, in every epoch."""
    timer = silent(every_n_steps=1)
    fitting = trainer(tmp_path, max_epochs=2, callbacks=[timer], **settings)
    fitting.fit(module(), data())
    assert [epoch.samples for epoch in timer.epochs] == [samples] * 2
    for epoch in timer.epochs:
        rates = epoch.samples_per_s, epoch.steady_samples_per_s
        assert [rate is None for rate in rates] == [samples is None] * 2


def test_an_only_batch_of_a_stream_may_be_a_smaller_one(tmp_path: Path) -> None:
    """What shows the batch size then may be something else: two rows for one sample, say."""

    def twice(samples: list[int]) -> torch.Tensor:
        return torch.zeros(2 * len(samples), 3)

    timer = silent(every_n_steps=1)
    loader: Any = DataLoader(Stream(range(1)), 2, collate_fn=twice)
    trainer(tmp_path, max_epochs=1, callbacks=[timer]).fit(Plain(), loader)
    assert [epoch.samples for epoch in timer.epochs] == [None]
    assert counted(DataLoader(Stream(range(1)), 2), 1, is_last=True) == [1]  # by torch's collate


@given(
    size=st.integers(1, 9),
    count=st.integers(1, 30),
    seed=st.integers(0, 9),
    streams=st.booleans(),
    drop_last=st.booleans(),
)
def test_never_another_number(
    size: int, count: int, seed: int, streams: bool, drop_last: bool
) -> None:
    """Of batches that known collates have nested at random: the number of samples, or none."""
    true: list[int] = []
    draw = random.Random(seed)
    names = draw.sample(sorted(STREAMED), k=3)
    kind = draw.choice([tuple, list, lambda parts: dict(zip("abc", parts, strict=True))])

    def collate(samples: list[int]) -> Any:
        true.append(len(samples))
        return kind([STREAMED[name](samples) for name in names])

    data: Any = Stream(range(count)) if streams else range(count)
    loader: Any = DataLoader(data, size, drop_last=drop_last, collate_fn=collate)
    for seen, expected in zip(counted(loader, is_last=count <= size), true, strict=True):
        assert seen in (expected, None)
        assert streams or seen == expected
