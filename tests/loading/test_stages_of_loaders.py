"""What a loader's stages cost, on a virtual clock: exactly what was planted in each of them."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from helpers.delays import VirtualClock
from helpers.pipelines import make_data
from PIL import Image, ImageFile
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    default_collate,
)
from torchvision.datasets import VisionDataset
from torchvision.transforms import Compose, v2

from hpml.loading.stages import LoaderStages
from hpml.loading.take_apart import take_apart

MS = 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return VirtualClock().install(monkeypatch)


@dataclass
class Spending:
    """A transform that takes so many milliseconds."""

    clock: VirtualClock
    ms: int

    def __call__(self, sample: Any) -> Any:
        self.clock.spend(self.ms * MS)
        return sample


class Blur(Spending):
    pass


class Flip(Spending):
    pass


class Sharpen(torch.nn.Module):
    """As torchvision's second version has its transforms."""

    def __init__(self, clock: VirtualClock, ms: int) -> None:
        super().__init__()
        self.spend = partial(clock.spend, ms * MS)

    def forward(self, sample: Any) -> Any:
        self.spend()
        return sample


@dataclass(eq=False)
class Photos(Dataset[Any]):
    """Takes 5 ms itself."""

    clock: VirtualClock
    transform: Any = None
    ms: int = 5

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        self.clock.spend(self.ms * MS)
        sample = torch.full((2,), float(index))
        return self.transform(sample) if self.transform else sample


@dataclass(eq=False)
class InOrder(SequentialSampler):
    """Takes 2 ms for each index."""

    clock: VirtualClock

    def __post_init__(self) -> None:
        super().__init__(range(8))

    def __iter__(self) -> Iterator[int]:
        for index in range(8):
            self.clock.spend(2 * MS)
            yield index


def ms_of(stages: LoaderStages) -> dict[str, float]:
    """Milliseconds a sample of the stages that take any."""
    every = {stage.name: round(1000 * stage.seconds.mean, 6) for stage in stages.stages}
    return {name: ms for name, ms in every.items() if ms}


def apart(dataset: Any, batch_size: Any = 2, **settings: Any) -> LoaderStages:
    return take_apart(DataLoader(dataset, batch_size, **settings))


def test_each_stage_has_what_was_planted(clock: VirtualClock) -> None:
    """Sampler, transforms by their names, data set, collating; shares, the sum, and the dearest."""

    def collate(samples: Any) -> Any:
        clock.spend(8 * MS)
        return default_collate(samples)

    photos = Photos(clock, Compose([Blur(clock, 11), Flip(clock, 3)]))
    found = apart(photos, sampler=InOrder(clock), collate_fn=collate)
    planted = {"sampler": 2, "Blur": 11, "Flip": 3, "Photos.__getitem__": 5, "collating": 4}
    assert ms_of(found) == planted
    assert list(ms_of(found)) == list(planted)  # in the order of a sample's way
    assert found.seconds == pytest.approx(0.025)
    assert found.dearest is not None
    assert (found.dearest.name, found.share(found.dearest)) == ("Blur", pytest.approx(0.44))
    assert found.sentences[0].startswith("Blur takes 44% of a sample")
    assert ("Blur", "11.00 ± 0.00", "44%") in found.rows
    assert (found.unit, found.counted, found.batches) == ("sample", 8, 4)
    assert json.loads(json.dumps(found.as_dict()))["dearest"] == "Blur"


NESTED: dict[str, Callable[[VirtualClock], Any]] = {
    "a function": lambda clock: Spending(clock, 7).__call__,
    "a list in v2": lambda clock: v2.Compose([v2.RandomApply([Sharpen(clock, 7)], p=1.0)]),
    "a module's children": lambda clock: torch.nn.Sequential(
        torch.nn.Identity(), Sharpen(clock, 7)
    ),
    "a partial": lambda clock: partial(lambda ms, sample: (clock.spend(ms * MS), sample)[1], 7),
}


@pytest.mark.parametrize("kind", NESTED)
def test_transforms_of_every_kind_are_timed(kind: str, clock: VirtualClock) -> None:
    """Wherever they stand: what is left to the data set is its own."""
    found = ms_of(apart(Photos(clock, NESTED[kind](clock))))
    assert found.pop("Photos.__getitem__") == 5
    assert list(found.values()) == [7]


@dataclass(eq=False)
class Transformed(Dataset[Any]):
    """A wrapper as many write it."""

    dataset: Any
    transform: Any
    clock: VirtualClock

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        self.clock.spend(MS)
        return self.transform(self.dataset[index])


def test_nested_data_sets_have_each_their_own(clock: VirtualClock) -> None:
    """Of one class too; two transforms of one class are told apart."""
    inner = Photos(clock, Blur(clock, 3))
    outer = Transformed(Subset(inner, range(6)), Blur(clock, 9), clock)
    found = apart(ConcatDataset([outer, Photos(clock, Blur(clock, 4))]), batch_size=14)
    in_all = {name: round(14 * ms, 3) for name, ms in ms_of(found).items()}
    of_six = {"Blur": 18, "Blur (2)": 54, "Transformed.__getitem__": 6}
    assert in_all == of_six | {"Photos.__getitem__": 70, "Blur (3)": 32}


class Vision(VisionDataset):
    """As torchvision's own: with transforms of images and of labels, and of both."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.transforms(torch.zeros(1), 0) if self.transforms else 0


def test_transforms_of_both_image_and_label(clock: VirtualClock) -> None:
    """`transforms` of torchvision's data sets calls the timed ones too."""
    both = {"transform": Blur(clock, 4), "target_transform": Flip(clock, 1)}
    assert ms_of(apart(Vision("", **both))) == {"Blur": 4, "Flip": 1}


class AtOnce(Photos):
    """Fetches a batch at once: 6 ms."""

    def __getitems__(self, indices: list[int]) -> Any:
        self.clock.spend(6 * MS)
        return [torch.zeros(1) for _ in indices]


class Batches(Photos):
    """Whose indices are those of a batch: 6 ms."""

    def __getitem__(self, indices: Any) -> Any:
        self.clock.spend(6 * MS)
        return torch.zeros(len(indices))


class Stream(IterableDataset[Any]):
    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.transform = clock, Blur(clock, 4)

    def __iter__(self) -> Iterator[Any]:
        for index in range(5):
            self.clock.spend(3 * MS)
            yield self.transform(torch.full((1,), float(index)))


def test_data_sets_of_other_kinds(clock: VirtualClock) -> None:
    """`__getitems__`, streams with a short last batch, batches from the data set, plain lists."""
    assert ms_of(apart(AtOnce(clock))) == {"AtOnce.__getitem__": 3}
    stream = apart(Stream(clock))
    assert ms_of(stream) == {"Blur": 4, "Stream.__iter__": 3}
    assert stream.counted == 5
    whole = apart(Stream(clock), batch_size=None)
    assert (whole.unit, ms_of(whole)) == ("batch", {"Blur": 4, "Stream.__iter__": 3})
    batches = BatchSampler(SequentialSampler(range(8)), 4, drop_last=False)
    listed = apart(Batches(clock), batch_size=None, sampler=batches)
    assert (listed.unit, ms_of(listed)) == ("sample", {"Batches.__getitem__": 1.5})
    assert apart([torch.zeros(1)] * 4).counted == 4


@pytest.mark.parametrize("workers", ["processes", "threads"])
@pytest.mark.parametrize("decoder", ["pillow", "turbo"])
@pytest.mark.parametrize("pipeline", ["per_sample", "batched"])
def test_our_own_pipelines(
    pipeline: str, decoder: Any, workers: str, monkeypatch: Any, clock: VirtualClock
) -> None:
    """Their decoding and their augmentation are stages, as a user's are; threads copy nothing."""
    data = make_data(pipeline=pipeline, encoded="jpeg", decoder=decoder, workers=workers)
    load, decode = ImageFile.ImageFile.load, simplejpeg.decode_jpeg

    def slow(image: Any) -> Any:
        clock.spend(4 * MS if image.tile else 0)
        return load(image)

    def slow_too(*given: Any, **named: Any) -> Any:
        clock.spend(4 * MS)
        return decode(*given, **named)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", slow_too)
    data.num_workers = int(workers == "threads")
    found = take_apart(data.train_dataloader())
    assert ms_of(found) == {"decoding": 4}
    assert not found.workers
    names = {stage.name for stage in found.stages}
    assert {"decoding", "crop and flip", "collating"} <= names


@dataclass(eq=False)
class Folder(Dataset[Any]):
    """Opens images, whose pixels its transform asks for first; and arrays."""

    files: list[Path]
    transform: Any
    labels: Path

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        image, labels = Image.open(self.files[index]), np.load(self.labels)
        with self.labels.open("rb") as file:
            assert isinstance(file, io.BufferedReader)
            assert len(file.read()) > 64
        return torch.from_numpy(np.array(self.transform(image))), labels[index]


def test_reading_and_decoding_are_told_from_the_rest(
    tmp_path: Path, monkeypatch: Any, clock: VirtualClock
) -> None:
    """Pillow decodes in the first transform: that is decoding, and what it reads is reading."""
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for file in files:
        Image.new("RGB", (8, 8)).save(file)
    np.save(tmp_path / "labels.npy", np.arange(4))
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: (clock.spend(2 * MS), np.arange(4))[1])

    def slow(image: Any) -> Any:
        clock.spend(6 * MS if image.tile else 0)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    found = apart(Folder(files, v2.Resize(4), tmp_path / "labels.npy"))
    assert ms_of(found) == {"reading": 2, "decoding": 6}
    assert open is io.open
    assert ImageFile.ImageFile.load is slow


class Caching(Photos):
    """Keeps what it has decoded: 20 ms each the first time."""

    kept: dict[int, Any]

    def __getitem__(self, index: int) -> Any:
        if index not in self.kept:
            self.clock.spend(20 * MS)
            self.kept[index] = super().__getitem__(index)
        return self.kept[index]


def test_the_first_pass_stands_apart(clock: VirtualClock) -> None:
    """A cache fills in it: the stages are those of the second, and what the first took is said."""
    photos = Caching(clock)
    photos.kept = {}
    found = apart(Transformed(photos, Blur(clock, 1), clock))
    assert ms_of(found) == {"Blur": 1, "Transformed.__getitem__": 1}
    assert found.first_s == pytest.approx(0.027)
    sentence = "the first pass over the same samples took 27.00 instead of 2.00 ms a sample"
    assert f"{sentence}, most of it for Caching.__getitem__" in found.sentences
    assert photos.kept == {}


def test_a_sample_that_takes_longer_than_there_is_time(clock: VirtualClock) -> None:
    """Batches are cut, so that the first one does not take all of it."""
    found = take_apart(DataLoader(Photos(clock, ms=500), batch_size=8), seconds=4.0)
    assert ms_of(found) == {"Photos.__getitem__": 500}
    assert found.counted < 8


@dataclass(eq=False)
class Odd:
    """What is iterated, and no DataLoader."""

    batches: list[int] = field(default_factory=lambda: [1, 2])

    def __iter__(self) -> Iterator[int]:
        return iter(self.batches)


def test_what_is_not_known_is_named() -> None:
    """A loader of another kind, and one without a batch: no figures, and why."""
    odd = take_apart(Odd())
    assert (odd.stages, odd.seconds, odd.dearest, odd.cost) == ((), None, None, None)
    assert odd.lines == ["not known: stages (a Odd is no DataLoader, so its stages cannot be seen)"]
    empty = take_apart(DataLoader([], batch_size=2))
    assert "the loader gave no batch" in empty.sentences[-1]
    assert json.loads(json.dumps(empty.as_dict()))["seconds"] is None


def test_an_error_of_the_data_is_the_users() -> None:
    """It comes out as it is raised."""
    with pytest.raises(ZeroDivisionError):
        apart(Photos(VirtualClock(), lambda sample: 1 // 0))


class Picky(Photos):
    """Takes a transform of one class alone."""

    def __getitem__(self, index: int) -> Any:
        assert type(self.transform) is Blur
        return super().__getitem__(index)


def test_data_that_does_not_bear_timed_transforms(clock: VirtualClock) -> None:
    """Is timed as a whole, and that is said."""
    found = apart(Picky(clock, Blur(clock, 3)))
    assert ms_of(found) == {"Picky.__getitem__": 8}
    why = "its transforms are not told apart, for timed ones fail (AssertionError: "
    assert any(note.startswith(why) for note in found.notes)
