"""Image files of many kinds: modes, depths, containers, tails, cuts. Each 16×16 pixels or so."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)
GRAY = PIXELS[:, :, 0]
TURN_RIGHT = 6  # of EXIF


def encoded(kind: str, image: Image.Image = RGB, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **settings)  # a save leaves settings behind
    return file.getvalue()


def two() -> dict[str, Any]:
    """What makes a file of two pictures."""
    return {"save_all": True, "append_images": [RGB.rotate(90)]}


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def png(depth: int, color: int, rows: bytes) -> bytes:
    """A PNG of 16×16 pixels, from its rows with their filters."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + crc(name + content)

    def crc(content: bytes) -> bytes:
        return struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", 16, 16, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


PNG, JPEG = encoded("PNG"), encoded("JPEG")
ALPHA = Image.fromarray(np.dstack([PIXELS, GRAY]))
FLOAT = Image.fromarray((GRAY / 255).astype(np.float32))
TWELVE_BITS = Image.fromarray((GRAY.astype(np.uint16) << 4) + 15)
DEEP_RGB = png(16, 2, (b"\0" + bytes(16 * 6)) * 16)
LAB = Image.frombytes("LAB", (16, 16), PIXELS.tobytes())

# File name, content, and what of it is told.
TRAINED: dict[str, tuple[bytes, set[str]]] = {
    "plain.jpg": (JPEG, set()),
    "progressive.jpeg": (encoded("JPEG", progressive=True), set()),
    "of_the_web.jfif": (JPEG, set()),
    "gray.JPG": (encoded("JPEG", RGB.convert("L")), set()),
    "cmyk.jpg": (encoded("JPEG", RGB.convert("CMYK")), {"CMYK"}),
    "turned.jpg": (encoded("JPEG", exif=exif(TURN_RIGHT)), {"turned"}),
    "wrong_exif.jpg": (encoded("JPEG", exif=b"Exif\0\0no TIFF at all"), set()),
    "two.jpg": (encoded("MPO", **two()), set()),
    "two.mpo": (encoded("MPO", **two()), set()),
    "plain.png": (PNG, set()),
    "bits.png": (encoded("PNG", RGB.convert("1")), set()),
    "gray.png": (encoded("PNG", RGB.convert("L")), set()),
    "gray_alpha.png": (encoded("PNG", ALPHA.convert("LA")), {"transparent"}),
    "palette.png": (encoded("PNG", RGB.quantize(16)), set()),
    "clear_palette.png": (
        encoded("PNG", RGB.quantize(16), transparency=bytes(range(16))),
        {"transparent"},
    ),
    "clear_color.png": (encoded("PNG", transparency=(1, 2, 3)), {"transparent"}),
    "alpha.png": (encoded("PNG", ALPHA), {"transparent"}),
    "twelve_bits.png": (encoded("PNG", TWELVE_BITS), {"16 bits"}),
    "deep_rgb.png": (DEEP_RGB, {"16 bits"}),
    "moving.apng": (encoded("PNG", **two()), {"frames"}),
    "turned.png": (encoded("PNG", exif=exif(TURN_RIGHT)), {"turned"}),
    "still.gif": (encoded("GIF"), set()),
    "moving.gif": (encoded("GIF", **two()), {"frames"}),
    "plain.bmp": (encoded("BMP"), set()),
    "bits.bmp": (encoded("BMP", RGB.convert("1")), set()),
    "plain.tif": (encoded("TIFF"), set()),
    "packed.tiff": (encoded("TIFF", compression="tiff_lzw"), set()),
    "float.tif": (encoded("TIFF", FLOAT), {"float"}),
    "integer.tif": (encoded("TIFF", Image.fromarray(GRAY.astype(np.int32))), {"32 bits"}),
    "deep.tif": (encoded("TIFF", TWELVE_BITS), {"16 bits"}),
    "lab.tif": (encoded("TIFF", LAB), set()),
    "pages.tif": (encoded("TIFF", **two()), {"frames"}),
    "turned_by_decoder.tif": (encoded("TIFF", tiffinfo={274: TURN_RIGHT}), set()),
    "plain.webp": (encoded("WEBP"), set()),
    "exact.webp": (encoded("WEBP", ALPHA, lossless=True), {"transparent"}),
    "moving.webp": (encoded("WEBP", **two()), {"frames"}),
    "plain.ppm": (encoded("PPM"), set()),
    "gray.pgm": (encoded("PPM", RGB.convert("L")), set()),
    "bits.pbm": (encoded("PPM", RGB.convert("1")), set()),
    "float.pfm": (encoded("PPM", FLOAT), {"float"}),
    "plain.ico": (encoded("ICO"), set()),
    "plain.tga": (encoded("TGA"), set()),
    "plain.jp2": (encoded("JPEG2000"), set()),
    "plain.pcx": (encoded("PCX"), set()),
    "plain.sgi": (encoded("SGI"), set()),
    "a_png.jpg": (PNG, set()),
    "bytes_behind.png": (PNG + b"a program's own", set()),
    "bytes_behind.jpg": (JPEG + b"maker's notes" * 99, set()),
    "bytes_behind.gif": (encoded("GIF") + b"\0", set()),
    "no_end.png": (PNG[:-12], set()),
    "second_cut.gif": (encoded("GIF", **two())[:-40], {"frames"}),
}

WHOLE: dict[str, bytes] = {name: content for name, (content, _) in TRAINED.items()}
CUT = (
    *("plain.jpg", "progressive.jpeg", "plain.png", "alpha.png", "twelve_bits.png", "still.gif"),
    *("plain.bmp", "plain.tif", "packed.tiff", "float.tif", "plain.webp", "plain.ppm", "gray.pgm"),
    *("float.pfm", "plain.ico", "plain.tga", "plain.jp2", "plain.pcx", "plain.sgi"),
)
REFUSED = {f"cut_{name}": WHOLE[name][: len(WHOLE[name]) // 2] for name in CUT} | {
    "cut_two.jpg": WHOLE["two.jpg"][: len(WHOLE["two.jpg"]) // 3],
    "empty.jpg": b"",
    "page.jpg": b"<html>not found</html>",
    "flipped.png": flipped(PNG, len(PNG) // 2),
    "no_pixels.png": PNG[:33] + PNG[-12:],
    "half.jpg": JPEG[: len(JPEG) // 2] + b"more of another file",
}
