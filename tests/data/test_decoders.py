"""Two decoders of JPEGs, the same pixels: what one cannot do is left to the other."""

import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from helpers.configurations import Compose
from helpers.image_kinds import JPEG, REFUSED, TRAINED, TURN_RIGHT, encoded, exif, flipped
from helpers.pipelines import batches, make_data, same, set_up
from PIL import Image

from hpml.data import ImageFolder, decoder_choice, turbo_jpeg
from hpml.data.decoding import Decoder
from hpml.data.fetch import fetch
from hpml.errors import DataError

simplejpeg = pytest.importorskip("simplejpeg")

BY_PILLOW, BY_TURBO = Decoder(), Decoder(used="turbo")
NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
# Width and height.
SIZES = ((1, 1), (7, 5), (8, 8), (15, 17), (16, 16), (33, 31), (53, 37), (100, 64))
SUBSAMPLINGS = ("444", "422", "420", "411", "440")
SAVED: dict[str, dict[str, Any]] = {
    "progressive": {"progressive": True},
    "progressive, 444": {"progressive": True, "subsampling": 0},
    "restart markers": {"restart_marker_rows": 1},
    "many restart markers": {"restart_marker_blocks": 1, "subsampling": 1},
    "optimized": {"optimize": True},
    "poor": {"quality": 3},
    "all but lossless": {"quality": 100, "subsampling": 0},
    "stored as RGB": {"keep_rgb": True},
    "turned": {"exif": exif(TURN_RIGHT)},
    "a profile": {"icc_profile": b"of colours" * 9999},
    "a comment": {"comment": b"\xff\xd8\xff\xd9"},
    "bytes behind": {},
}


def picture(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(NOISE).resize(size, Image.Resampling.BICUBIC)


def of_kind(kind: str, size: tuple[int, int]) -> bytes:
    if kind in SUBSAMPLINGS:
        pixels = np.ascontiguousarray(picture(size))
        content: bytes = simplejpeg.encode_jpeg(pixels, colorsubsampling=kind)
        return content
    if kind.startswith("gray"):
        settings = {"progressive": kind != "gray"}
        return encoded("JPEG", picture(size).convert("L"), **settings)
    return encoded("JPEG", picture(size), **SAVED[kind]) + b"more" * (kind == "bytes behind")


@pytest.mark.parametrize("kind", [*SUBSAMPLINGS, "gray", "gray, progressive", *SAVED])
def test_pixels_are_pillows(kind: str) -> None:
    """Bit for bit, in every size: turbo decodes it, and what it gives is what Pillow gives."""
    for size in SIZES:
        content = of_kind(kind, size)
        decoded = turbo_jpeg.decode(content)
        assert decoded is not None
        assert (decoded == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


def outcome(decoder: Decoder, content: bytes, path: Path) -> Any:
    path.write_bytes(content)
    try:
        return decoder.decode(str(path)).tolist()
    except DataError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")
def test_any_file_ends_as_with_pillow(tmp_path: Path) -> None:
    """Whole, of another kind, in CMYK, cut short or damaged: the same pixels, or the same words."""
    random = Random(0)
    contents = {name: content for name, (content, _) in TRAINED.items()} | REFUSED
    for kind in ("420", "progressive", "restart markers", "gray"):
        whole = of_kind(kind, (33, 31))
        for number in range(12):
            place = random.randrange(2, len(whole))
            contents[f"{kind} damaged {number}"] = flipped(whole, place)
            contents[f"{kind} cut {number}"] = whole[:place]
    for name, content in contents.items():
        path = tmp_path / "x.jpg"
        assert outcome(BY_TURBO, content, path) == outcome(BY_PILLOW, content, path), name


def test_it_is_not_pillow_that_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain JPEG, by whichever name such files have; one by the name of a PNG is Pillow's."""
    monkeypatch.setattr(Image, "open", None)
    for name in ("a.jpg", "B.JPEG", "c.jfif", "d.mpo"):
        (tmp_path / name).write_bytes(JPEG)
        assert BY_TURBO.decode(str(tmp_path / name)).shape == (3, 16, 16)
    (tmp_path / "e.png").write_bytes(JPEG)
    with pytest.raises(DataError):
        BY_TURBO.decode(str(tmp_path / "e.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_are_turned_by_both(orientation: int) -> None:
    """Where `exif=apply` asks for it, upright ones are turbo's, the others Pillow's."""
    content = encoded("JPEG", picture((33, 31)), exif=exif(orientation))
    one, other = (Decoder("apply", used=used).decode_bytes(content) for used in ("pillow", "turbo"))
    assert (one == other).all()
    assert one.shape == ((3, 31, 33) if orientation < 5 else (3, 33, 31))


@pytest.mark.parametrize("kind", [*SUBSAMPLINGS, "gray", "progressive", "stored as RGB"])
def test_scaled_decoding(kind: str) -> None:
    """At 1/2, 1/4 or 1/8, as long as both sides keep so many pixels; by both the same pixels."""
    for least, scale in ((101, 1), (100, 1), (51, 1), (50, 2), (32, 2), (25, 4), (13, 4), (8, 8)):
        content = of_kind(kind, (120, 101))
        one, other = (
            Decoder(used=used, decode_size=least).decode_bytes(content)
            for used in ("pillow", "turbo")
        )
        assert one.shape == (3, -(-101 // scale), 120 // scale)
        assert (one == other).all()
        assert turbo_jpeg.decode(content, least) is not None


def test_what_auto_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """turbo where it is installed and gives Pillow's pixels; asked for, it says why it cannot."""
    assert (decoder_choice.choose("auto"), decoder_choice.choose("turbo")) == ("turbo", "turbo")
    assert decoder_choice.choose("pillow") == "pillow"
    with monkeypatch.context() as patch:
        patch.setattr(turbo_jpeg, "gives_pillows_pixels", lambda: False)
        assert decoder_choice.choose("auto") == "pillow"
        with pytest.raises(DataError, match="does not give this Pillow's pixels"):
            decoder_choice.choose("turbo")
    monkeypatch.setattr(turbo_jpeg, "simplejpeg", None)
    assert decoder_choice.choose("auto") == "pillow"
    with pytest.raises(DataError, match=r'no simplejpeg is installed; pip install "hpml\[turbo\]"'):
        decoder_choice.choose("turbo")


def test_another_libjpeg_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel that differs by one level is enough; looked at once a process."""
    decode = turbo_jpeg.decode

    def other(data: bytes) -> Any:
        pixels = decode(data)
        assert pixels is not None
        pixels[0, 0, 0] ^= 1
        return pixels

    assert turbo_jpeg.gives_pillows_pixels.__wrapped__()
    monkeypatch.setattr(turbo_jpeg, "decode", other)
    assert not turbo_jpeg.gives_pillows_pixels.__wrapped__()


def test_huge_images_are_pillows_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """It warns of them, and refuses what is twice as large."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 16 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        assert BY_TURBO.decode_bytes(JPEG).shape == (3, 16, 16)


@pytest.mark.parametrize("pipeline", ["per_sample", "batched"])
def test_batches_are_the_same(image_folder: Path, pipeline: str) -> None:
    """Of files and of what is encoded in memory, by either decoder."""
    for number in range(8):
        picture((8, 8)).save(image_folder / "train" / "cat" / f"{number}.jpg")
    both = ("pillow", "turbo")
    one, other = (
        batches(make_data(pipeline=pipeline, encoded="jpeg", decoder=used)) for used in both
    )
    assert same(one, other)
    one, other = (
        batches(set_up(ImageFolder, root=image_folder, pipeline=pipeline, decoder=used))
        for used in both
    )
    assert same(one, other)


def test_what_is_left_to_pillow_is_told(image_folder: Path, compose: Compose, caplog: Any) -> None:
    """Once, with one of them, by `hpml.data` too; where all are, only if turbo was asked for."""
    caplog.set_level("INFO", "hpml")
    first = image_folder / "train" / "cat" / "0.png"
    left = (
        f"left to Pillow, such as {first}; turbo decodes JPEGs of gray or colour that are named so"
    )
    for decoder, told in (("auto", []), ("pillow", []), ("turbo", [f"decoder: 20 images {left}"])):
        caplog.clear()
        set_up(ImageFolder, root=image_folder, decoder=decoder)
        assert [record.message for record in caplog.records] == told
    picture((8, 8)).save(image_folder / "train" / "dog" / "x.jpg")
    set_up(ImageFolder, root=image_folder)
    assert caplog.records[-1].message == f"decoder: 20 images {left}"
    picture((8, 8)).save(image_folder / "train" / "dog" / "y.png", "JPEG")  # by its name Pillow's
    set_up(ImageFolder, root=image_folder)
    told = f"decoder: 21 images {left}"
    assert caplog.records[-1].message == told
    caplog.clear()
    fetch(compose("data=image_folder", f"data.root={image_folder}"))
    assert [record.message for record in caplog.records].count(told) == 1


def test_other_pixels_are_told(image_folder: Path, caplog: Any) -> None:
    """How many images `decode_size` makes smaller, and one of them; without a check uncounted."""
    path = image_folder / "train" / "cat" / "large.jpg"
    picture((100, 64)).save(path)
    pixels = [
        set_up(ImageFolder, root=image_folder, image_size=16, decode_size=least).loaded.train
        for least in (None, 32, 33)
    ]
    assert [record.message for record in caplog.records] == [
        "warning: 1 image decoded at 1/2, 1/4 or 1/8, as data.decode_size asks: other pixels "
        f"(such as {path})"
    ]
    caplog.clear()
    for least in (None, 32):
        set_up(ImageFolder, root=image_folder, image_size=16, decode_size=least, verify=False)
    assert [record.message for record in caplog.records] == [
        "warning: data.decode_size=32: other pixels of JPEGs twice as large or more; how many "
        "there are is not counted before training"
    ]
    place = next(n for n, name in enumerate(pixels[0].paths) if str(name) == str(path))
    plain, scaled, large = (source.fetch(np.array([place])) for source in pixels)
    assert (plain == large).all()
    assert 0 < np.abs(plain.astype(int) - scaled).max() < 64


def test_workers_are_told_which_decoder(image_folder: Path) -> None:
    """It is chosen once, in the training process: a worker has the same."""
    picture((8, 8)).save(image_folder / "train" / "cat" / "x.jpg")
    data = set_up(ImageFolder, root=image_folder, num_workers=1)
    assert data.loaded.train.decoder.used == "turbo"
    alone = set_up(ImageFolder, root=image_folder)
    pairs = zip(data.train_dataloader(), alone.train_dataloader(), strict=True)
    assert all(torch.equal(one[0], other[0]) for one, other in pairs)
