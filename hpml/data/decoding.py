"""From an image file to RGB pixels: the one judge of what can be decoded, and what is lost."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from hpml.data import turbo_jpeg
from hpml.data.decoder_choice import DecoderName, Used
from hpml.errors import DataError, first_line
from hpml.formatting import counted

Exif = Literal["apply", "ignore"]
Size = tuple[int, int]  # height and width

# With which bytes a file of this kind ends where nothing of it is missing. Pillow opens a WebP only
# if all of it is there. Some cameras and programs write on behind the end: then decoding decides.
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "WEBP": b""}
SMALL = 2**16  # bytes that one reads as quickly as only their first and last
# Pillow runs another program for EPS, and only tells the size of an MPEG.
NOT_DECODED = {"EPS", "MPEG"}
SAYS_TURNED = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
LOST = {
    "turned": "EXIF data turns {}, which is ignored: data.exif=apply turns them",
    "transparent": "{} can be transparent, which is ignored: data.background=[255,255,255] puts "
    "white behind",
    "float": "{} of floats: cut to whole numbers of 0 to 255",
    "32 bits": "{} of 32 bits a pixel: cut to 0 to 65535, of which the upper 8 bits are kept",
    "16 bits": "{} of 16 bits a channel: the upper 8 are kept",
    "CMYK": "{} of CMYK become RGB without their colour profile",
    "frames": "{} hold several pictures: the first is used",
    "smaller": "{} decoded at 1/2, 1/4 or 1/8, as data.decode_size asks: other pixels",
}
LEFT = "left"  # to Pillow, where another decoder has the others
JPEG = {"JPEG", "MPO"}


@dataclass(frozen=True)
class Decoder:
    """How an image becomes pixels; as it stands, as torchvision's ImageFolder does it.

    Of 16 bits a pixel the upper 8 are kept, where torchvision's would cut to 255.
    """

    exif: Exif = "ignore"  # apply: turn it as its EXIF data say
    background: tuple[int, int, int] | None = None  # behind what is transparent; None: drop alpha
    used: Used = "pillow"  # what decodes a JPEG: to the same pixels
    decode_size: int | None = None  # pixels that a JPEG's sides keep; it is halved down to them

    def decode(self, path: str) -> np.ndarray:
        """uint8 of shape (3, H, W), RGB. Raises DataError."""
        try:
            if self.used == "turbo" and path.lower().endswith(turbo_jpeg.NAMES):
                return self.decode_bytes(turbo_jpeg.read(path))
            with Image.open(path) as image:
                return self.pixels(image)
        except Exception as error:  # each of Pillow's decoders has its own words for a broken file
            raise _unusable(path, error) from error

    def decode_bytes(self, content: bytes) -> np.ndarray:
        """A file's content, as `decode`; raises what Pillow raises."""
        by_turbo = self.used == "turbo"
        if by_turbo and self.exif == "apply":
            with Image.open(io.BytesIO(content)) as image:
                by_turbo = _orientation(image) == 1
        if by_turbo and (decoded := turbo_jpeg.decode(content, self.decode_size)) is not None:
            return decoded.transpose(2, 0, 1)
        with Image.open(io.BytesIO(content)) as image:
            return self.pixels(image)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """A PIL image of any mode, just opened, as uint8 of shape (3, H, W), RGB."""
        if self.decode_size:
            image.draft(None, (self.decode_size, self.decode_size))
        if self.exif == "apply":
            image.load()  # a PNG may say behind its pixels how it is turned
            image = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        if image.mode.startswith("I"):  # which Pillow would clip to 255 instead of scaling
            gray = (np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)
            return np.broadcast_to(gray, (3, *gray.shape))
        if self.background is not None and image.has_transparency_data:
            behind = Image.new("RGBA", image.size, self.background)
            image = Image.alpha_composite(behind, image.convert("RGBA"))
        elif image.mode == "P" and "transparency" in image.info:  # or Pillow warns, of each
            image = image.convert("RGBA")
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)

    def check(self, path: str) -> tuple[Size, list[str]]:
        """Size, and which of LOST is lost; raises DataError where decoding would.

        Only where header and end do not show that a file is whole it is decoded. Damage in the
        middle is found of a PNG up to SMALL by its checksums, of what is decoded, and else by
        `decode` alone. Takes 37 microseconds a 32×32 JPEG, where Pillow decodes it in 75 and turbo
        in 20 (one core of an EPYC server).
        """
        try:
            with io.BufferedReader(io.FileIO(path)) as file:
                image = Image.open(file)
                width, height = image.size
                turned = _orientation(image)
                lost = list(self._lost(image, turned))
                if self._is_left(path, image, turned):
                    lost.append(LEFT)
                whole = self._is_whole(image, file)
        except Exception as error:
            raise _unusable(path, error) from error
        if not whole:
            height, width = self.decode(path).shape[1:]
        elif self.exif == "apply" and turned > 4:
            height, width = width, height
        return (height, width), lost

    def _is_whole(self, image: Image.Image, file: IO[bytes]) -> bool:
        """Whether an image that was just opened shows it; where it does not, it may be whole."""
        end = ENDS.get(image.format or "")
        if end is None or (self.exif == "apply" and image.format == "PNG"):
            return False
        with suppress(Exception):
            size = os.fstat(file.fileno()).st_size
            if image.format == "PNG" and size <= SMALL:
                image.verify()  # every checksum up to the end; consumes the image
                return True
            file.seek(size - len(end))
            return file.read(len(end)) == end
        return False

    def _lost(self, image: Image.Image, turned: int) -> Iterator[str]:
        if turned > 1 and self.exif == "ignore":
            yield "turned"
        if self.background is None and image.has_transparency_data:
            yield "transparent"
        if image.mode == "F":
            yield "float"
        if image.mode == "I":
            yield "32 bits"
        if image.mode.startswith("I;") or ";16" in _raw_mode(image):
            yield "16 bits"
        if image.mode == "CMYK":
            yield "CMYK"
        if image.format != "MPO" and _is_animated(image):  # a phone's MPO holds one picture twice
            yield "frames"
        if image.format in JPEG and turbo_jpeg.scale_for(*image.size, self.decode_size) > 1:
            yield "smaller"

    def _is_left(self, path: str, image: Image.Image, turned: int) -> bool:
        is_jpeg = image.format in JPEG and path.lower().endswith(turbo_jpeg.NAMES)
        is_turned = turned > 1 and self.exif == "apply"
        return self.used == "turbo" and (not is_jpeg or image.mode not in ("L", "RGB") or is_turned)


class Losses:
    """What is lost over a whole data set: of each kind how many images, and the first."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._images = 0

    def add(self, path: str, lost: Iterable[str]) -> None:
        self._images += 1
        for kind in lost:
            self._counts[kind] += 1
            self._first.setdefault(kind, path)

    def left(self, decoder: DecoderName) -> str:
        """A sentence on images that Pillow decodes after all; none of all of them under `auto`."""
        count = self._counts[LEFT]
        if not count or (count == self._images and decoder == "auto"):
            return ""
        images = f"{counted(count, 'image')} left to Pillow, such as {self._first[LEFT]}"
        return f"decoder: {images}; turbo decodes JPEGs of gray or colour that are named so"

    def sentences(self) -> Iterator[str]:
        """One for each kind; decodes the first image of gray values to say what becomes of them."""
        for kind, sentence in LOST.items():
            if path := self._first.get(kind):
                yield f"{sentence.format(counted(self._counts[kind], 'image'))} ({_example(path)})"


@cache
def extensions() -> frozenset[str]:
    """Those of the files that Pillow decodes by itself, in lower case."""
    Image.preinit()  # the common ones come first: each file is tried as one kind after the other
    Image.init()
    stubs = {
        name
        for name, (opener, _) in Image.OPEN.items()
        if isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
    }
    # MPO is opened as a JPEG, and missing from what can be opened
    readable = (Image.OPEN.keys() | {"MPO"}) - stubs - NOT_DECODED
    known = Image.registered_extensions().items()
    return frozenset(extension for extension, name in known if name in readable)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as in EXIF; 1 where nothing says that the image is turned, or nothing readable."""
    with suppress(Exception):
        # the decoder of TIFF turns the pixels itself
        if image.format != "TIFF" and not SAYS_TURNED.isdisjoint(image.info):
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            return turned if turned in range(1, 9) else 1
    return 1


def _raw_mode(image: Image.Image) -> str:
    """How a PNG or TIFF stores its pixels: `RGB;16B` has mode RGB."""
    if image.format not in ("PNG", "TIFF"):
        return ""
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _is_animated(image: Image.Image) -> bool:
    with suppress(Exception):  # where the second picture is cut short the first can be used
        return bool(getattr(image, "is_animated", False))
    return False


def _example(path: str) -> str:
    """A path, and for gray values beyond 8 bits what becomes of the smallest and the largest."""
    with Image.open(path) as image:
        if not image.mode.startswith(("I", "F")):
            return f"such as {path}"
        values, pixels = np.asarray(image), Decoder().pixels(image)
    return (
        f"such as {path}, whose {values.min():g} to {values.max():g} become "
        f"{pixels.min()} to {pixels.max()}"
    )


def _unusable(path: str, error: Exception) -> DataError:
    if isinstance(error, UnidentifiedImageError):
        size = Path(path).stat().st_size
        return DataError(f"{path}: not an image that can be read ({size} bytes)")
    reason = error.strerror if isinstance(error, OSError) else None
    return DataError(f"{path}: cannot be decoded ({reason or first_line(error)})")
