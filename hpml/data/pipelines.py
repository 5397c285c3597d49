"""The three ways from a source's pixels to a batch: per_sample, batched, device.

Each is a map-style Dataset over a sampler's keys whose `__getitems__` gives a finished batch, so
the DataLoader has nothing to collate. The draws of a batch are made at once, by one function, for
all three.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from hpml.data.augment import PADDING, Draws, crop_flip_gather, normalize
from hpml.data.resized_crop import ResizedCrops
from hpml.data.sampling import unpack
from hpml.data.storage import Pixels, Source
from hpml.errors import DataError

# Gives the draws for (epochs, indices) of a batch; None where nothing is augmented.
AnyDraws = Draws | ResizedCrops
Drawing = Callable[[np.ndarray, np.ndarray], AnyDraws] | None


@dataclass(eq=False)
class Split:
    """A part of a source: which of its samples, and how they are augmented."""

    source: Source
    indices: np.ndarray  # int64 of shape (n,), into the source
    drawing: Drawing

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, keys: list[int]) -> tuple[np.ndarray, AnyDraws | None]:
        """The source's indices of a batch of keys, and their draws."""
        epochs, positions = unpack(np.array(keys))
        indices = self.indices[positions]
        return indices, self.drawing(epochs, indices) if self.drawing else None


@dataclass(eq=False)
class Pipeline(Dataset[Any]):
    """What the loader's processes do. A DataError comes back in place of a batch.

    Raised in a worker it would reach the user inside the worker's traceback; so it is handed over
    and raised in the training process.
    """

    # what its methods do, where its loader is taken apart
    loading_stages: ClassVar[dict[str, str]] = {}

    split: Split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: int) -> Any:
        """A batch of one, for those who take a Dataset apart by hand."""
        return self.__getitems__([key])

    def __getitems__(self, keys: list[int]) -> Any:
        try:
            return self.load(*self.split.batch(keys))
        except DataError as error:
            return error

    def load(self, indices: np.ndarray, draws: AnyDraws | None) -> Any:
        raise NotImplementedError


@dataclass(eq=False)
class PerSample(Pipeline):
    """One sample after the other, cropped and flipped by torchvision as PIL images.

    Batches are float32 images of shape (B, 3, H, W), normalised, and int64 labels of shape (B,).
    """

    loading_stages: ClassVar = {
        **{"fetch": "fetching", "augment": "crop and flip", "finish": "to tensor and normalize"},
        "collate": "collating",
    }

    mean: list[float]
    std: list[float]

    def load(self, indices: np.ndarray, draws: AnyDraws | None) -> Any:
        samples = []
        for position, pixels in enumerate(self.fetch(indices, draws)):
            if isinstance(draws, ResizedCrops):
                image: Any = self.augment(pixels, draws, position).transpose(1, 2, 0)
            else:
                image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
                image = self.augment(image, draws, position) if draws else image
            samples.append(self.finish(image))
        return self.collate(samples), self.split.source.labels[torch.from_numpy(indices)]

    def fetch(self, indices: np.ndarray, draws: AnyDraws | None) -> Iterable[np.ndarray]:
        source = self.split.source
        is_resized = isinstance(draws, ResizedCrops)
        return source.originals(indices) if is_resized else source.fetch(indices)

    def augment(self, image: Any, draws: AnyDraws, position: int) -> Any:
        return draws.apply(image, position)

    def finish(self, image: Image.Image | np.ndarray) -> Tensor:
        """What ToTensor and Normalize do, in a third of their time for a small image."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return normalize(pixels, *self._mean_and_std)

    @cached_property
    def _mean_and_std(self) -> tuple[Tensor, Tensor]:
        mean, std = torch.tensor([self.mean, self.std]).view(2, 3, 1, 1)
        return mean, std

    def collate(self, samples: list[Tensor]) -> Tensor:
        images: Tensor = default_collate(samples)
        return images


class Batched(Pipeline):
    """The whole batch at once, left as uint8 for the device to normalise.

    Batches are uint8 images of shape (B, 3, H, W) and int64 labels of shape (B,).
    """

    loading_stages: ClassVar = {"images": "crop and flip"}

    def load(self, indices: np.ndarray, draws: AnyDraws | None) -> Any:
        images = self.images(indices, draws)
        return torch.from_numpy(images), self.split.source.labels[torch.from_numpy(indices)]

    def images(self, indices: np.ndarray, draws: AnyDraws | None) -> np.ndarray:
        source = self.split.source
        return source.fetch_augmented(indices, draws) if draws else source.fetch(indices)


class DeviceBatch(NamedTuple):
    """Which samples to take from a set that lies on the device: int64 and bool of shape (B,)."""

    indices: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    is_test: bool


@dataclass(eq=False)
class OnDevice(Pipeline):
    """Indices and draws alone; the pixels lie on the device, in a ResidentSet."""

    is_test: bool

    def load(self, indices: np.ndarray, draws: AnyDraws | None) -> DeviceBatch:
        if draws is None:
            centre = np.full(len(indices), PADDING)
            draws = Draws(top=centre, left=centre, flip=np.zeros(len(indices), bool))
        assert isinstance(draws, Draws), "data.crop=resized needs what is not decoded yet"
        arrays = (indices, draws.top, draws.left, draws.flip)
        taken, top, left, flip = map(torch.from_numpy, arrays)
        return DeviceBatch(taken, top, left, flip, self.is_test)


class ResidentSet:
    """A source on a device: uint8 pixels with their padding around them, and labels.

    Of a source that does not hold pixels, images are decoded whose indices are `used`, in order.
    """

    def __init__(self, source: Source, used: np.ndarray, device: torch.device) -> None:
        self.labels = source.labels.to(device)
        self._row: Tensor | None = None  # of each index, where some are left out
        if not isinstance(source, Pixels):
            row = torch.full((len(source),), -1)
            row[torch.from_numpy(used)] = torch.arange(len(used))
            self._row = row.to(device)
            source = Pixels.decoded(source, used)
        self.padded = source.padded.to(device)

    def take(self, batch: DeviceBatch) -> tuple[Tensor, Tensor]:
        """The batch's images (uint8, (B, 3, H, W)) and labels (int64, (B,))."""
        rows = batch.indices if self._row is None else self._row[batch.indices]
        images = crop_flip_gather(self.padded, rows, batch.top, batch.left, batch.flip)
        return images, self.labels[batch.indices]


def as_is(batch: Any) -> Any:
    """The DataLoader's collate function: batches come finished."""
    return batch
