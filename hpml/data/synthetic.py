"""Generated images: ten classes of pattern that a network learns and a linear model does not."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hpml.data.decoder_choice import DecoderName, choose
from hpml.data.decoding import Decoder
from hpml.data.image_data_module import ImageDataModule, Shape
from hpml.data.storage import PART, EncodedBytes, ImageSet, Pixels, Source
from hpml.errors import DataError

PATTERNS = ("horizontal", "vertical", "checks", "lattice", "rings")
CYCLES = (2.0, 4.0)  # coarse and fine: waves over the width of the image
CLASSES = tuple(f"{size} {name}" for name in PATTERNS for size in ("coarse", "fine"))


@dataclass(eq=False, repr=False)
class Synthetic(ImageDataModule):
    """Patterns in two sizes, each image with phases, contrast, colours and noise of its own.

    A class is told by its texture alone: the mean image is the same gray for every class, so a
    linear model finds little, and all patterns look alike in a mirror, so the horizontal flip
    changes no label.

    `encoded="jpeg"` keeps the samples as JPEG bytes and decodes them at each fetch.
    """

    holds_pixels: ClassVar = True

    train_samples: int = 10_000  # that are made
    test_samples: int = 2_000
    image_size: int = 32  # pixels square, at least 8
    encoded: Literal["none", "jpeg"] = "none"
    decoder: DecoderName = "auto"  # of those that are encoded: see `hpml.data.decoder_choice`

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("train_samples", "test_samples", "image_size"):
            if getattr(self, key) is None:
                raise DataError(f"data.{key}=null: data=synthetic needs a number")

    @classmethod
    def shape_without_loading(cls, settings: Mapping[str, Any]) -> Shape:
        return settings.get("image_size") or 32, len(CLASSES)

    def load(self) -> ImageSet:
        sizes = self.train_samples, self.test_samples
        train, test = (self._source(size, stream) for stream, size in enumerate(sizes))
        return ImageSet(train, test, CLASSES, where="data=synthetic")

    def _source(self, samples: int, stream: int) -> Source:
        labels, parts = _labels(samples), _parts(samples, self.image_size, stream)
        if self.encoded == "jpeg":
            encoded = [_jpeg(image) for part in parts for image in part]
            return EncodedBytes(encoded, labels, Decoder(used=choose(self.decoder)))
        return Pixels(parts, labels)


def generate(samples: int, image_size: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape (samples, 3, image_size, image_size), and labels, int64.

    The same on every machine and for every seed of a run. Labels go round the classes in turn.
    """
    none = np.empty((0, 3, image_size, image_size), np.uint8)
    images = np.concatenate([none, *_parts(samples, image_size, stream)])
    return images, _labels(samples).numpy()


def _labels(samples: int) -> Tensor:
    return torch.arange(samples) % len(CLASSES)


def _parts(samples: int, image_size: int, stream: int) -> Iterator[np.ndarray]:
    """The images of `generate` in parts: as floats all of them would take four times the memory."""
    labels = _labels(samples).numpy()
    random = np.random.Generator(np.random.PCG64([stream, image_size]))
    for start in range(0, samples, PART):
        yield _patterns(labels[start : start + PART], image_size, random)


def _patterns(labels: np.ndarray, image_size: int, random: np.random.Generator) -> np.ndarray:
    batch = len(labels)
    kinds, sizes = labels // len(CYCLES), labels % len(CYCLES)

    def each(low: float, high: float, channels: int = 1) -> np.ndarray:
        return random.uniform(low, high, (batch, channels, 1, 1)).astype(np.float32)

    cycles = np.array(CYCLES, np.float32)[sizes].reshape(batch, 1, 1, 1) * each(0.9, 1.1)
    axis = np.arange(image_size, dtype=np.float32) / image_size
    phase_x, phase_y = each(0, 2 * np.pi), each(0, 2 * np.pi)
    x = 2 * np.pi * cycles * axis[None, None, None, :] + phase_x
    y = 2 * np.pi * cycles * axis[None, None, :, None] + phase_y
    centre_x, centre_y = each(0.3, 0.7), each(0.3, 0.7)
    radius = np.hypot(axis[None, None, None, :] - centre_x, axis[None, None, :, None] - centre_y)
    waves = np.select(
        [(kinds == kind).reshape(batch, 1, 1, 1) for kind in range(len(PATTERNS))],
        [
            np.sin(y) + 0 * x,
            np.sin(x) + 0 * y,
            np.sign(np.sin(x) * np.sin(y)) * 0.7,
            (np.sin(x + y) + np.sin(x - y + phase_y)) * 0.7,
            np.sin(4 * np.pi * cycles * radius + phase_x),
        ],
    )
    signs = np.array([-1, 1], np.float32)
    contrast = each(0.04, 0.16, channels=3) * random.choice(signs, (batch, 3, 1, 1))
    noise = random.standard_normal((batch, 3, image_size, image_size), np.float32) * 0.2
    images = each(0.35, 0.65, channels=3) + contrast * waves + noise
    clipped: np.ndarray = (images.clip(0, 1) * 255).astype(np.uint8)
    return clipped


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()
