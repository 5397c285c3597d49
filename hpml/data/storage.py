"""Where a data set's images lie: as pixels in memory, as JPEG bytes in memory, or in files.

A source gives whole batches of uint8 pixels by index. It holds its bulk in torch tensors, which
processes share whether they are forked or spawned.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hpml.data.augment import PADDING, Draws, crop_flip_batch, crop_flip_padded
from hpml.data.decoding import Decoder, Size
from hpml.data.resized_crop import ResizedCrops
from hpml.errors import DataError

PART = 1024  # images that are made or decoded at a time, which bounds the memory


class Source(ABC):
    """Images of one size and their labels."""

    labels: Tensor  # int64 of shape (N,)

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def fetch(self, indices: np.ndarray) -> np.ndarray:
        """The images of these indices: uint8 of shape (B, 3, H, W). Raises DataError."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of each image, (3, H, W)."""
        channels, height, width = self.fetch(np.arange(1))[0].shape
        return channels, height, width

    def fetch_augmented(self, indices: np.ndarray, draws: Draws | ResizedCrops) -> np.ndarray:
        if isinstance(draws, Draws):
            return crop_flip_batch(self.fetch(indices), draws)
        whole = enumerate(self.originals(indices))
        return np.stack([draws.apply(pixels, position) for position, pixels in whole])

    def originals(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The images in the sizes that they have: uint8 of shape (3, H, W) each."""
        return iter(self.fetch(indices))


class Pixels(Source):
    """Decoded images in memory, from parts of them: uint8 of shape (B, 3, H, W), in order.

    They are kept with the padding of the random crop around them: 1.6 times the memory for 32×32
    pixels, and a crop is one copy instead of three. Beside them there is never more than a part.
    """

    def __init__(self, parts: Iterable[np.ndarray], labels: Tensor) -> None:
        parts = iter(parts)
        first = next(parts, np.empty((0, 3, 0, 0), np.uint8))
        channels, height, width = first.shape[1:]
        shape = (len(labels), channels, height + 2 * PADDING, width + 2 * PADDING)
        padded, start = np.zeros(shape, np.uint8), 0
        for part in itertools.chain([first], parts):
            stop = start + len(part)
            padded[start:stop, :, PADDING:-PADDING, PADDING:-PADDING] = part
            start = stop
        self.padded = torch.from_numpy(padded)
        self.labels = labels

    @classmethod
    def decoded(cls, source: Source, indices: np.ndarray | None = None) -> "Pixels":
        """Another source's images, fetched once: all, or those of some indices."""
        wanted = np.arange(len(source)) if indices is None else indices
        parts = (
            source.fetch(wanted[start : start + PART]) for start in range(0, len(wanted), PART)
        )
        return cls(parts, source.labels[torch.from_numpy(wanted)])

    def fetch(self, indices: np.ndarray) -> np.ndarray:
        images: np.ndarray = self.padded.numpy()[indices, :, PADDING:-PADDING, PADDING:-PADDING]
        return images

    def fetch_augmented(self, indices: np.ndarray, draws: Draws | ResizedCrops) -> np.ndarray:
        if isinstance(draws, Draws):
            return crop_flip_padded(self.padded.numpy(), indices, draws)
        return super().fetch_augmented(indices, draws)


class EncodedBytes(Source):
    """Encoded images in memory, one behind the other, decoded at each fetch."""

    def __init__(self, encoded: Sequence[bytes], labels: Tensor, decoder: Decoder) -> None:
        self.decoder = decoder
        self.ends = torch.tensor([len(image) for image in encoded]).cumsum(0)
        self.bytes = torch.frombuffer(bytearray().join(encoded), dtype=torch.uint8)
        self.labels = labels

    def fetch(self, indices: np.ndarray) -> np.ndarray:
        data, ends = self.bytes.numpy(), self.ends.numpy()
        encoded = (data[ends[index - 1] if index else 0 : ends[index]] for index in indices)
        return np.stack([self.decoder.decode_bytes(each.tobytes()) for each in encoded])


@dataclass(eq=False)
class Files(Source):
    """Image files, read and decoded at each fetch."""

    # NumPy strings, not a list of Path: an object a file would be copied page by page into every
    # forked worker, as their reference counts change.
    paths: np.ndarray
    labels: Tensor
    image_size: Size
    resize: bool  # images of another size to this one
    decoder: Decoder

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Without reading any: a run has not begun, and one that hangs would end it nowhere."""
        return 3, *self.image_size

    def fetch(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([self._read(str(self.paths[index])) for index in indices])

    def originals(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        return (self.decoder.decode(str(self.paths[index])) for index in indices)

    def _read(self, path: str) -> np.ndarray:
        pixels = self.decoder.decode(path)
        height, width = pixels.shape[1:]
        if (height, width) == self.image_size:
            return pixels
        if not self.resize:
            raise other_size(path, (height, width), self.image_size)
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return self.decoder.pixels(image.resize(self.image_size[::-1], Image.Resampling.BILINEAR))


def other_size(path: str, found: Size, wanted: Size) -> DataError:
    return DataError(
        f"{path}: {found[1]}×{found[0]} pixels where the first image has "
        f"{wanted[1]}×{wanted[0]}; give data.image_size to resize all"
    )


@dataclass(frozen=True)
class ImageSet:
    """What a data module loads: two sources and the names of their classes."""

    train: Source
    test: Source | None  # where the data has no test set
    classes: tuple[str, ...]
    where: str  # for messages: the folder, or a description
