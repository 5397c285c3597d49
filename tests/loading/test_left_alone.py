"""What taking a loader apart leaves as it was, where its lines are found, and what workers do."""

import builtins
import json
import multiprocessing
import pickle
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.jobs import Convolutional, Images, trainer
from lightning.fabric.utilities.seed import _collect_rng_states
from PIL import Image, ImageFile
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from hpml.loading.code_lines import own_line, ranked
from hpml.loading.stages import LoaderStages, Stage, WorkerTimes
from hpml.loading.take_apart import take_apart
from hpml.statistics import Estimate
from hpml.trials.subject import Subject

SHORT_S = 0.05


class Jitter:
    """Has a random state of its own, and counts its calls."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(1)
        self.of_torch = torch.Generator().manual_seed(2)
        self.calls = 0

    def __call__(self, sample: Any) -> Any:
        self.calls += 1
        return sample + self.generator.random() + torch.rand((), generator=self.of_torch)


@dataclass(eq=False)
class Caching(Dataset[Any]):
    """Keeps, counts, draws in all ways, and collates by a method of its own."""

    transform: Any = field(default_factory=Jitter)
    kept: dict[int, Any] = field(default_factory=dict)
    reads: int = 0

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        drawn = random.random() + np.random.rand() + torch.rand(1)
        self.kept[index] = drawn
        return self.transform(drawn)

    def collate(self, samples: Any) -> Any:
        self.reads += 1
        return torch.stack(samples)


def state_of(dataset: Caching, loader: Any) -> Any:
    jitter = dataset.transform
    return (
        pickle.dumps((dataset.kept, dataset.reads, jitter.calls, jitter.generator)),
        (jitter.of_torch.get_state().tolist(), loader.generator.get_state().tolist()),
        (type(dataset), type(jitter), loader.dataset is dataset, vars(loader)["_iterator"]),
        (builtins.open, Image.open, ImageFile.ImageFile.load, np.load, pickle.loads, json.loads),
        repr(_collect_rng_states()),
        (sys.getswitchinterval(), torch.get_num_threads(), threading.active_count()),
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_everything_is_as_it_was(workers: int) -> None:
    """Caches, counters and random states of data set, transform, loader, and of the process."""
    dataset = Caching()
    generator = torch.Generator().manual_seed(3)
    settings: Any = {"num_workers": workers, "generator": generator, "shuffle": True}
    loader = DataLoader(dataset, 4, collate_fn=dataset.collate, **settings)
    before = state_of(dataset, loader)
    found = take_apart(loader, 2.5 if workers else SHORT_S)
    assert {"Jitter", "Caching.__getitem__", "collating"} <= {each.name for each in found.stages}
    assert state_of(dataset, loader) == before


def test_a_job_and_its_data_are_as_they_were(tmp_path: Path) -> None:
    """By its subject too; of several loaders the dearest is told, and which it is."""
    loaders = [DataLoader(Images(8, terms), 4) for terms in (1, 400)]
    subject = Subject(trainer(tmp_path), Convolutional(), loaders)
    found = subject.take_apart(SHORT_S)
    subject.close()
    assert any(note.startswith("of 2 loaders this is number 2") for note in found.notes)


@dataclass(eq=False)
class Mixing:
    """Draws from another data set, by a method that a data set has for its transform."""

    other: Caching
    calls: int = 0
    generator: Any = field(default_factory=lambda: np.random.default_rng(1))

    def apply(self, sample: Any) -> Any:
        self.calls += 1
        return sample + self.other[self.generator.integers(12)]


def test_what_a_transform_holds_is_left_alone() -> None:
    """A data set in it, and the object that its method is bound to; both are timed."""
    mixing = Mixing(Caching())
    before = pickle.dumps((mixing.other.kept, mixing.calls, mixing.generator))
    found = take_apart(DataLoader(Caching(mixing.apply), 4), SHORT_S)
    assert {"apply", "Caching.__getitem__"} <= {each.name for each in found.stages}
    assert (type(mixing.other), mixing.other.reads) == (Caching, 0)
    assert pickle.dumps((mixing.other.kept, mixing.calls, mixing.generator)) == before


class Slotted(Dataset[Any]):
    """Keeps its attributes outside of a dictionary, one of them under a name of its own."""

    __slots__ = ("__kept", "size")

    def __init__(self) -> None:
        self.size, self.__kept = 4, list[int]()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        self.__kept.append(index)
        return torch.zeros(len(self.__kept))[:1]

    @property
    def reads(self) -> int:
        return len(self.__kept)


def test_a_data_set_with_slots_is_copied_too() -> None:
    """With what they hold, which the copy may add to."""
    dataset = Slotted()
    assert take_apart(DataLoader(dataset, 2), SHORT_S).counted == 4
    assert dataset.reads == 0


def slow_line(sample: Any) -> Any:
    time.sleep(0.002)  # the line
    return sample


class Sleeping(Images):
    def __getitem__(self, index: int) -> Any:
        return slow_line(torch.zeros(1))


def test_the_dearest_line_is_named() -> None:
    """Of a function that the data set calls: by its file, and its text."""
    found = take_apart(DataLoader(Sleeping(20), 10), 1.0)
    line = slow_line.__code__.co_firstlineno + 1
    assert found.dearest is not None
    assert found.dearest.line == found.code[0].place
    assert found.code[0].place.endswith(f"test_left_alone.py:{line}")
    assert found.code[0].text == "time.sleep(0.002)  # the line"
    assert found.cost is not None
    assert found.cost.startswith("Sleeping.__getitem__ (")
    assert found.cost.endswith(f"test_left_alone.py:{line})")


def test_lines_are_those_of_the_users_own_files() -> None:
    """The innermost: not Python's, not an installed package's, and none where all are."""
    torchs, pythons = torch.__file__, json.__file__
    stack = [(pythons, 1), (torchs, 2), (__file__, 3), (torchs, 4), (__file__, 5)]
    assert own_line(stack) == (__file__, 3)
    assert own_line([(pythons, 1), (torchs, 2), ("<frozen runpy>", 3)]) is None


def test_lines_are_ranked_by_all_that_they_take() -> None:
    """Over their stages, of which the dearest is told; what has no line counts with the whole."""
    looks: Any = Counter({("decoding", ("a.py", 1)): 30, ("reading", ("a.py", 1)): 20})
    looks.update({("collating", None): 50, ("Blur", ("b.py", 7)): 40})
    found = [(line.file, line.line, line.stage, round(line.share, 2)) for line in ranked(looks, 5)]
    assert found == [("a.py", 1, "decoding", 0.36), ("b.py", 7, "Blur", 0.29)]


class Uneven(Images):
    """One of its workers is slow; data sets that are opened by `worker_init_fn` open here."""

    opened = False

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        assert info is None or (self.opened and type(info.dataset) is Uneven)
        time.sleep(0.02 if info is not None and info.id == 1 else 0.0)
        return torch.zeros(1)


def open_in_worker(number: int) -> None:
    info: Any = get_worker_info()
    info.dataset.opened = True


def test_workers_that_are_uneven_are_told() -> None:
    """Each one's seconds busy, its first batch apart, and when the first one came."""
    loader = DataLoader(Uneven(64), 2, num_workers=2, worker_init_fn=open_in_worker)
    found = take_apart(loader, 4.0)
    first, second = found.workers
    assert first.batches > 1
    assert second.busy_s > first.busy_s
    assert second.first_s is not None
    assert found.first_batch_s is not None
    assert found.imbalance is not None
    assert found.imbalance > 1.25
    assert any(sentence.startswith("the workers are uneven") for sentence in found.sentences)
    own = next(stage for stage in found.stages if stage.name == "Uneven.__getitem__")
    assert own.in_workers_s is not None
    assert own.in_workers_s > 0.004
    assert "copying between processes" in {stage.name for stage in found.stages}


class Sharded(IterableDataset[Any]):
    """Cannot be read outside of a worker."""

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        if info is None:
            raise RuntimeError("give at least one worker")
        yield from torch.arange(20.0)


def test_what_loads_in_workers_alone() -> None:
    """The stages are those of the workers, and why is said."""
    found = take_apart(DataLoader(Sharded(), 2, num_workers=1), 3.0)
    assert {"Sharded.__iter__", "collating"} <= {stage.name for stage in found.stages}
    why = "loading fails in this process (RuntimeError: give at least one worker)"
    assert any(note.startswith(why) for note in found.notes)


class Late(Images):
    """Its workers take too long to start."""

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.0 if get_worker_info() is None else 60.0)
        return torch.zeros(1)


def test_workers_that_are_late_are_ended() -> None:
    """The rest is known; the time that was given is kept."""
    found = take_apart(DataLoader(Late(8), 2, num_workers=2), 2.0)
    assert found.unknown["the workers' times"] == "no batch came in 0.5 s of their start"
    assert found.first_batch_s is None
    assert found.seconds is not None
    assert not multiprocessing.active_children()


def made(*costs_ms: float, **settings: Any) -> LoaderStages:
    names = ("reading", "decoding", "Blur")
    stages = [
        Stage(name, Estimate(ms / 1000, None, 1), None, None, f"photos.py:{number}")
        for number, (name, ms) in enumerate(zip(names, costs_ms, strict=False))
    ]
    return LoaderStages("DataLoader", stages=stages, **settings)


def test_it_says_what_its_figures_say() -> None:
    """The dearest with its line, no small ones in the table, what is not known by its name."""
    found = made(2.0, 7.0, 0.01, unknown={"copying between processes": "no tensors"}, counted=64)
    assert found.sentences[0] == "decoding takes 78% of a sample: photos.py:1"
    assert [row[0] for row in found.rows] == ["reading", "decoding"]
    assert found.sentences[-1] == "not known: copying between processes (no tensors)"
    assert found.cost == "decoding (78% of a sample: photos.py:1)"
    assert made(0.0).cost is None


def test_a_cache_that_ends_with_its_workers() -> None:
    """Is told with the argument that keeps them."""
    grown = Stage("decoding", Estimate(0.0, None, 4), 0.02, None, None)
    other = Stage("Blur", Estimate(0.001, None, 4), 0.001, None, None)
    first: Any = {"first_s": 0.021, "first_more": Estimate(0.02, 0.001, 4)}
    ends = LoaderStages("DataLoader", stages=[grown, other], workers_end=True, **first)
    assert "persistent_workers=True keeps them" in ends.sentences[-1]
    keeps = LoaderStages("DataLoader", stages=[grown, other], **first)
    assert keeps.sentences[-1].endswith("most of it for decoding")
    noisy = LoaderStages("DataLoader", stages=[other], first_s=1, first_more=Estimate(1, 2, 4))
    assert len(noisy.sentences) == 1


def test_even_workers_are_no_matter() -> None:
    """Nor are those that may be even, by their batches; of one alone nothing is said."""

    def workers(*batch_s: Estimate) -> list[WorkerTimes]:
        return [WorkerTimes(each.n, each.n * each.mean, 0.2, each) for each in batch_s]

    even, slow = Estimate(0.1, 0.01, 9), Estimate(0.3, 0.02, 9)
    assert made(1.0, workers=workers(even, even)).imbalance == pytest.approx(1.0)
    assert made(1.0, workers=workers(even)).imbalance is None
    unsure = made(1.0, workers=workers(even, Estimate(0.3, 0.2, 2)))
    assert unsure.imbalance == pytest.approx(1.5)
    assert len(unsure.sentences) == 1
    told = made(1.0, workers=workers(even, slow)).sentences[-1]
    assert told.startswith("the workers are uneven: one's batches take 1.5 times as long")
    assert "(0.9, 2.7 s busy)" in told
