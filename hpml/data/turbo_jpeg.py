"""JPEGs by libjpeg-turbo with nothing around it (simplejpeg): Pillow's pixels in less time.

Pillow decodes by the same library, but spends five times as long on its own around a small image.
Neither a wrong file nor one of another kind is judged here: those are left to Pillow.
"""

import io
import os
from functools import cache

import numpy as np
from PIL import Image

try:
    import simplejpeg
except ImportError:  # an extra: `pip install "hpml[turbo]"`
    simplejpeg = None

NAMES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")  # what a JPEG's file ends with
COLORS = {"YCbCr", "Gray", "RGB"}  # of CMYK Pillow makes other colours
SCALES = (8, 4, 2)  # by which libjpeg makes an image smaller while it decodes it, as Pillow asks it


def read(path: str) -> bytes:
    """A whole file, in half the time that `open` takes for a small one."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(file).st_size
        content = os.read(file, size)
        while len(content) < size and (more := os.read(file, size - len(content))):
            content += more
    finally:
        os.close(file)
    return content


def decode(data: bytes, least: int | None = None) -> np.ndarray | None:
    """uint8 of shape (H, W, 3), RGB; None for what is no whole, faultless JPEG of gray or colour.

    With `least` both sides are halved, as often as they keep this many pixels, up to three times.
    """
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(data)
        if color not in COLORS or _is_bomb(height * width):
            return None
        scale = scale_for(height, width, least)
        wanted = -(-height // scale), -(-width // scale)
        smaller = {} if scale == 1 else {"min_height": wanted[0], "min_width": wanted[1]}
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", False, False, **smaller)
    except ValueError:  # also for what Pillow decodes in spite of it, such as garbage in between
        return None
    return pixels if pixels.shape[:2] == wanted else None


def scale_for(height: int, width: int, least: int | None) -> int:
    """By how much an image is made smaller so that its sides keep `least` pixels: 1, 2, 4 or 8."""
    most = min(height, width) // least if least else 1
    return next((scale for scale in SCALES if scale <= most), 1)


@cache
def gives_pillows_pixels() -> bool:
    """Whether the pixels are those of the Pillow that is installed, which may have another libjpeg.

    Looked at are two images of each subsampling, and a progressive one of each.
    """
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((53, 37), Image.Resampling.BICUBIC)
    for subsampling in (0, 1, 2):
        for progressive in (False, True):
            file = io.BytesIO()
            picture.save(file, "JPEG", subsampling=subsampling, progressive=progressive)
            decoded = decode(file.getvalue())
            if decoded is None or not np.array_equal(decoded, np.asarray(Image.open(file))):
                return False
    return True


def _is_bomb(pixels: int) -> bool:
    """Whether Pillow would warn of so many, or refuse them."""
    return Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS
