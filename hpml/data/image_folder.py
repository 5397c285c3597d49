"""Class folders of image files: `<root>/train/<class>/*`, `<root>/test/<class>/*`."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from hpml.data.decoder_choice import DecoderName, choose
from hpml.data.decoding import Decoder, Exif, Losses, Size
from hpml.data.folder_layout import Images, find_layout, find_train
from hpml.data.image_data_module import ImageDataModule, Shape
from hpml.data.pipelines import Drawing
from hpml.data.resized_crop import draw_resized
from hpml.data.storage import Files, ImageSet, Pixels, Source, other_size
from hpml.errors import DataError

log = logging.getLogger("hpml")

Crop = Literal["padded", "resized"]


@dataclass(eq=False, repr=False)
class ImageFolder(ImageDataModule):
    """Images of one's own. Grayscale and transparent ones are converted to RGB."""

    choices: ClassVar = dict(ImageDataModule.choices, exif=Exif, decoder=DecoderName, crop=Crop)

    root: Path  # or a text: the folder that holds `train` and `test` (or `val`)
    image_size: int | None = None  # pixels square to resize to; None where all have one size
    in_memory: bool = False  # decode everything once, instead of in every epoch
    # whether each file can be decoded, as far as can be seen quickly; None: the caller looks
    verify: bool | None = True
    exif: Exif = "ignore"  # apply: turn images as their EXIF data say
    background: tuple[int, int, int] | None = None  # RGB behind what is transparent
    decoder: DecoderName = "auto"  # of JPEGs: see `hpml.data.decoder_choice`
    decode_size: int | None = None  # pixels that the sides of a large JPEG keep while decoding
    crop: Crop = "padded"  # of training samples: see `hpml.data.augment`, `hpml.data.resized_crop`

    def __post_init__(self) -> None:
        super().__post_init__()
        self._size: Size | None = None  # of all images, once they are loaded
        self.root = Path(str(self.root)).expanduser()
        red_green_blue = tuple(self.background) if self.background is not None else None
        used = choose(self.decoder)
        self._decoder = Decoder(self.exif, red_green_blue, used, self.decode_size)  # type: ignore[arg-type]

    def drawing(self) -> Drawing:
        if self.crop == "padded":
            return super().drawing()
        assert self._size is not None, "load comes first"
        return partial(draw_resized, self.seed, flip=self.flip, size=self._size)

    @classmethod
    def shape_without_loading(cls, settings: Mapping[str, Any]) -> Shape:
        root = Path(str(settings.get("root"))).expanduser()
        return None if find_train(root) else (settings.get("image_size"), None)

    def load(self) -> ImageSet:
        layout = find_layout(self.root)
        size = (self.image_size,) * 2 if self.image_size else self._first_size(layout.train)
        self._size = size
        if self.verify:
            self._check((*layout.train, *layout.test), size)
        elif self.verify is False and self.decode_size:
            other = "other pixels of JPEGs twice as large or more"
            uncounted = "how many there are is not counted before training"
            log.warning(f"data.decode_size={self.decode_size}: {other}; {uncounted}")
        train = self._source(layout.train, size)
        test = self._source(layout.test, size) if layout.test else None
        return ImageSet(train, test, layout.classes, str(self.root))

    def _first_size(self, images: Images) -> Size:
        """That of the first file that can be decoded."""
        errors = []
        for path, _ in images:
            try:
                return self._decoder.check(path)[0]
            except DataError as error:  # which are broken is told where all are looked at
                errors.append(error)
        raise errors[0]

    def _check(self, images: Iterable[tuple[str, int]], size: Size) -> None:
        """Raises DataError for the first that cannot be used; tells what the others lose."""
        losses = Losses()
        for path, _ in images:
            found, lost = self._decoder.check(path)
            if not self.image_size and found != size:
                raise other_size(path, found, size)
            losses.add(path, lost)
        for sentence in losses.sentences():
            log.warning(sentence)
        if left := losses.left(self.decoder):
            log.info(left)

    def _source(self, images: Images, size: Size) -> Source:
        labels = torch.tensor([label for _, label in images])
        paths = np.array([path for path, _ in images])
        source = Files(paths, labels, size, bool(self.image_size), self._decoder)
        return Pixels.decoded(source) if self.in_memory else source
