"""One judge of a file, whatever its kind: the decoder. What a conversion loses is told."""

import copy
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from helpers.configurations import QUICK, Compose
from helpers.image_kinds import GRAY, PIXELS, REFUSED, TRAINED, TURN_RIGHT, encoded, exif, flipped
from helpers.pipelines import set_up
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, pil_loader

from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.config.fingerprint import fingerprint
from hpml.data import ImageFolder
from hpml.data.decoding import SMALL, Decoder, extensions
from hpml.data.fetch import fetch
from hpml.errors import DataError, UserError
from hpml.report.make import make_report
from hpml.train import train


@pytest.fixture
def kinds(image_folder: Path) -> Path:
    """A data set in which one class holds an image of every kind that can be decoded."""
    for name, (content, _) in TRAINED.items():
        (image_folder / "train" / "cat" / name).write_bytes(content)
    return image_folder


def write(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.filterwarnings("error")
def test_what_the_decoder_reads_passes(tmp_path: Path, name: str) -> None:
    """The check gives the size that is decoded and what is lost, and nobody warns."""
    content, lost = TRAINED[name]
    path = write(tmp_path, name, content)
    for decoder in (Decoder(), Decoder("apply", (255, 0, 0))):
        size, told = decoder.check(path)
        pixels = decoder.decode(path)
        assert (pixels.shape, pixels.dtype) == ((3, *size), np.uint8)
        assert set(told) == (lost if decoder == Decoder() else lost - {"turned", "transparent"})
    assert Path(name).suffix.lower() in extensions()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_the_decoder_cannot_read_is_refused(tmp_path: Path, name: str) -> None:
    """In the same one line by the check and by decoding."""
    path = write(tmp_path, name, REFUSED[name])
    messages = set()
    for read in (Decoder().check, Decoder().decode):
        with pytest.raises(DataError, match=r"cannot be decoded \(|not an image") as caught:
            read(path)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert messages.pop().startswith(f"{path}: ")


def outcome(read: Callable[[str], Any], path: str) -> str:
    try:
        read(path)
    except DataError as error:
        return str(error)
    return "can be decoded"


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.filterwarnings("ignore")
def test_the_check_and_decoding_agree(tmp_path: Path, name: str) -> None:
    """On a file that is cut anywhere; of what is no JPEG or WebP also on one damaged anywhere."""
    whole, random = TRAINED[name][0], Random(name)
    spoiled = [whole[: random.randrange(1, len(whole))] for _ in range(15)]
    if not whole.startswith((b"\xff\xd8", b"RIFF")):
        spoiled += [flipped(whole, random.randrange(len(whole))) for _ in range(15)]
    for content in spoiled:
        path = write(tmp_path, name, content)
        assert outcome(Decoder().check, path) == outcome(Decoder().decode, path)


def test_any_kind_is_trained_and_reported(
    kinds: Path, compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fetched, trained for an epoch without a word, and in the report; losses are told once."""
    caplog.set_level(logging.INFO, "hpml")
    keys = ("data=image_folder", f"data.root={kinds}", "data.image_size=16", "logger=none")
    few = ("data.train_samples=null", "data.test_samples=null", "data.batch_size=8")
    cfg = compose(*QUICK, *keys, *few, "trainer.max_epochs=1")
    fetch(cfg.copy())
    told = [record.message for record in caplog.records if "(such as" in record.message]
    assert "all images can be decoded" in caplog.text
    caplog.clear()
    record = train(cfg)
    assert (record.status, len(record.epochs)) == ("completed", 1)
    again = [record.message for record in caplog.records if "(such as" in record.message]
    assert sorted(told) == sorted(again)
    assert len(told) == len({kind for _, lost in TRAINED.values() for kind in lost})
    assert make_report([tmp_path / "run"], tmp_path / "report") == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_cannot_be_trained_is_named_before(
    kinds: Path, compose: Compose, in_memory: bool
) -> None:
    """By `python -m hpml.data` each, by a run the first."""
    for name, content in REFUSED.items():
        write(kinds / "train" / "dog", name, content)
    keys = ("data=image_folder", f"data.root={kinds}", "data.image_size=16")
    with pytest.raises(UserError, match=f"{len(REFUSED)} images cannot be used") as caught:
        fetch(compose(*keys, f"data.in_memory={in_memory}"))
    assert str(caught.value).count("\n") == 21  # twenty, and how many more
    with pytest.raises(DataError, match=r"dog/cut_alpha.png: cannot be decoded \(image file is tr"):
        set_up(ImageFolder, root=kinds, image_size=16, in_memory=in_memory)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n, (_, lost) in TRAINED.items() if "16 bits" not in lost])
def test_pixels_are_torchvisions(tmp_path: Path, name: str) -> None:
    """Unless told else: as stored, cut to 8 bits, with the colour that lies under transparency."""
    path = write(tmp_path, name, TRAINED[name][0])
    if name == "integer.tif":
        assert (Decoder().decode(path) == 0).all()  # of 32 bits the upper 8 are kept, as of 16
    else:
        assert (Decoder().decode(path) == np.asarray(pil_loader(path)).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_turns_are_applied_where_asked(tmp_path: Path, kind: str) -> None:
    """And the check knows the size that this gives."""
    wide = Image.fromarray(PIXELS[:8])
    settings = {"tiffinfo": {0x0112: TURN_RIGHT}} if kind == "TIFF" else {"exif": exif(TURN_RIGHT)}
    path = write(tmp_path, "turned", encoded(kind, wide, **settings))
    decoder = Decoder("apply")
    assert decoder.check(path) == ((16, 8), [])
    turned = decoder.decode(path)
    assert turned.shape == (3, 16, 8)
    if kind != "TIFF":  # which Pillow turns itself
        assert (turned == np.rot90(Decoder().decode(path), -1, axes=(1, 2))).all()


def test_transparent_images_lie_on_a_background(tmp_path: Path) -> None:
    """A share of its colour shows, as large as they are transparent; others stay as they are."""
    decoder = Decoder(background=(255, 0, 100))
    opacity = GRAY[..., None] / 255
    expected = PIXELS * opacity + np.array([255, 0, 100]) * (1 - opacity)
    pixels = decoder.decode(write(tmp_path, "alpha.png", TRAINED["alpha.png"][0]))
    assert np.abs(pixels.transpose(1, 2, 0) - expected).max() <= 1
    plain = decoder.decode(write(tmp_path, "plain.png", TRAINED["plain.png"][0]))
    assert (plain.transpose(1, 2, 0) == PIXELS).all()


def test_what_becomes_of_values_is_told(image_folder: Path, caplog: Any) -> None:
    """Once a data set, in train and test: how many, and of one of them what its values become."""
    cats = image_folder / "train" / "cat"
    deep = np.array([[0, 4095]] * 8, np.uint16)
    for name in ("a.png", "b.png"):
        Image.fromarray(deep).save(cats / name)
    Image.fromarray((deep / 4095).astype(np.float32)).save(image_folder / "test" / "dog" / "x.tif")
    set_up(ImageFolder, root=image_folder, image_size=8)
    assert [record.message for record in caplog.records] == [
        "warning: 1 image of floats: cut to whole numbers of 0 to 255 "
        f"(such as {image_folder / 'test' / 'dog' / 'x.tif'}, whose 0 to 1 become 0 to 1)",
        "warning: 2 images of 16 bits a channel: the upper 8 are kept "
        f"(such as {cats / 'a.png'}, whose 0 to 4095 become 0 to 15)",
    ]


def test_a_whole_file_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers, ends and checksums are enough; a large PNG's end is, as reading all takes long."""
    large = encoded("PNG", Image.fromarray(np.tile(PIXELS, (16, 16, 1))), compress_level=0)
    assert len(large) > SMALL
    files = {name: TRAINED[name][0] for name in ("plain.jpg", "two.jpg", "plain.png", "plain.webp")}
    files |= {"large.png": large, "bytes_behind.png": TRAINED["bytes_behind.png"][0]}
    paths = [write(tmp_path, name, content) for name, content in files.items()]
    monkeypatch.setattr(Decoder, "decode", None)
    sizes = [Decoder().check(path)[0] for path in paths]
    assert sizes == [(16, 16)] * 4 + [(256, 256), (16, 16)]


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """The system's own words, not that it is no image."""
    with pytest.raises(DataError, match=r"x.png: cannot be decoded \(No such file or directory\)"):
        Decoder().check(str(tmp_path / "x.png"))


def test_only_what_pillow_decodes_by_itself_is_an_image() -> None:
    """All that torchvision reads, phones' files, and none that another program has to decode."""
    assert extensions() >= {*IMG_EXTENSIONS, ".jfif", ".mpo", ".apng", ".pfm", ".jp2"}
    assert not extensions() & {".eps", ".ps", ".h5", ".mpg", ".wmf", ".pdf", ".txt", ".csv"}


def test_listing_extensions_slows_no_opening() -> None:
    """In a fresh process the common kinds are still tried first."""
    code = "from hpml.data.decoding import *; extensions(); print(*Image.ID[:6])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) >= {"JPEG", "PNG"}


def test_new_keys_leave_fingerprints_alone(compose: Compose) -> None:
    """As they stand a run is what it was without them; set, it is another one."""
    now = resolve(compose("data=image_folder"))
    before = copy.deepcopy(now)
    later = {
        "exif": "apply",
        "background": "[255,255,255]",
        "decoder": "turbo",
        "workers": "threads",
    }
    later |= {"crop": "resized", "decode_size": "256"}
    for key in later:
        del before["data"][key]
    assert fingerprint(now) == fingerprint(before)
    for key, value in later.items():
        other = resolve(compose("data=image_folder", f"data.{key}={value}"))
        assert fingerprint(other) != fingerprint(before)


def test_wrong_values_are_refused(compose: Compose) -> None:
    """In a configuration and in Python."""
    for override in ("data.exif=turn", "data.background=[0,0,256]", "data.background=white"):
        with pytest.raises(UserError, match=override.partition("=")[0]):
            check(compose("data=image_folder", override))
    with pytest.raises(ValueError, match="exif='turn': give one of apply, ignore"):
        ImageFolder(root=Path(), mean=[0.5] * 3, std=[0.5] * 3, exif="turn")  # type: ignore[arg-type]
