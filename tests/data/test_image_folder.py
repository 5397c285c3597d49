import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pipelines import same, set_up
from PIL import Image

from hpml.data import ImageFolder
from hpml.data.decoding import Decoder
from hpml.data.storage import Files
from hpml.errors import DataError


def make_data(root: Path, **settings: Any) -> Any:
    return set_up(ImageFolder, root=root, **settings)


def test_it_reads_classes_and_pixels(image_folder: Path) -> None:
    """Labels number the sorted folders; pixels are those of the file, in memory or not."""
    loaded = make_data(image_folder).loaded
    assert loaded.classes == ("cat", "dog")
    assert loaded.train.labels.tolist() == [0] * 8 + [1] * 8
    with Image.open(image_folder / "train" / "dog" / "2.png") as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    assert (loaded.train.fetch(np.array([10]))[0] == expected).all()
    plain, kept = make_data(image_folder), make_data(image_folder, in_memory=True)
    assert same(list(plain.train_dataloader()), list(kept.train_dataloader()))


@pytest.mark.parametrize("image_size", [None, 5])
def test_the_size_is_known_before_anything_is_read(
    image_folder: Path, image_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the training process, which no `data.timeout_s` would free from a disk that hangs."""
    data = make_data(image_folder, image_size=image_size, train_samples=10)
    monkeypatch.setattr(Files, "fetch", None)
    assert data.image_shape == (3, image_size or 8, image_size or 8)


def test_any_format_mode_and_size(image_folder: Path) -> None:
    """Gray of 8 and 16 bits, palette and transparent images become RGB, of one size."""
    folder = image_folder / "train" / "cat"
    Image.new("L", (20, 10), 128).save(folder / "gray.jpg")
    Image.new("RGBA", (5, 9), (1, 2, 3, 0)).save(folder / "clear.png")
    Image.new("P", (8, 8)).save(folder / "palette.gif")
    Image.new("I;16", (8, 8), 32768).save(folder / "deep.png")
    train = make_data(image_folder, image_size=16).loaded.train
    images = train.fetch(np.arange(len(train)))
    assert images.shape == (20, 3, 16, 16)
    names = [Path(path).name for path in train.paths]
    assert abs(int(images[names.index("gray.jpg")].mean()) - 128) < 3
    assert images[names.index("deep.png")].mean() == pytest.approx(32768 // 257, abs=1)


def test_what_serves_as_well(image_folder: Path) -> None:
    """`<root>/val` in place of `test`; a JPEG with bytes behind its end, as some cameras write."""
    (image_folder / "test").rename(image_folder / "val")
    assert len(make_data(image_folder).test) == 4
    path = jpeg(image_folder / "train" / "cat", keep=1)
    path.write_bytes(path.read_bytes() + b"maker's notes")
    assert Decoder().check(str(path)) == ((8, 8), [])
    assert len(make_data(image_folder).loaded.train) == 17


def jpeg(folder: Path, keep: float) -> Path:
    """A part of one."""
    path = folder / "broken.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


TRUNCATED = r"cannot be decoded \(image file is truncated"
A_FILE, NO_IMAGE = "train/cat/a.jpg", "not an image that can be read"
WIDE, OTHER_SIZE = Image.new("RGB", (9, 8)), "9×8 pixels where the first image has 8×8"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train/bird").mkdir(), "train/bird: a class without images"),
        (lambda root: (root / "test/bird").mkdir(), "test/bird: a class that .*train does not"),
        (lambda root: shutil.rmtree(root / "train/dog"), "train: give a folder for each class"),
        (lambda root: shutil.rmtree(root / "train"), "data.root=.*images: has no folder `train`"),
        (lambda root: shutil.rmtree(root / "test"), "images: has no test set; give data.val_split"),
        (lambda root: (root / A_FILE).write_text("no image"), rf"{A_FILE}: {NO_IMAGE} \(8 bytes"),
        (lambda root: (root / A_FILE).touch(), rf"{A_FILE}: {NO_IMAGE} \(0 bytes\)"),
        (lambda root: jpeg(root / "train/cat", keep=0.9), "cat/broken.jpg: cannot be decoded"),
        (lambda root: WIDE.save(root / "test/dog/1.png"), f"test/dog/1.png: {OTHER_SIZE}"),
        (lambda root: cut(root / "train/cat/0.png", -30), rf"train/cat/0.png: {TRUNCATED}"),
        (shutil.rmtree, "data.root=.*images: there is no such folder"),
        ({"batch_size": 17}, "data.batch_size=17: the training set has only 16"),
        ({"train_samples": 17}, "data.train_samples=17: there are only 16"),
    ],
)
def test_bad_data(image_folder: Path, spoil: Any, message: str) -> None:
    """Before training starts, in one line that names the file or folder."""
    settings = spoil if isinstance(spoil, dict) else {}
    if not settings:
        spoil(image_folder)
    with pytest.raises(DataError, match=message) as caught:
        make_data(image_folder, **settings)
    assert "\n" not in str(caught.value)


def test_an_unreadable_first_image_is_named(image_folder: Path) -> None:
    """Where nothing is verified the next one tells the size; where none does, it is named."""
    (image_folder / "train" / "cat" / "0.png").write_bytes(b"")
    named = rf"cat/0.png: {NO_IMAGE} \(0 bytes\)"
    with pytest.raises(DataError, match=named):
        make_data(image_folder)
    make_data(image_folder, verify=False)
    for other in (image_folder / "train").rglob("*.png"):
        other.write_bytes(b"")
    with pytest.raises(DataError, match=named):
        make_data(image_folder, verify=False)


def test_what_is_not_used_is_reported(image_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning of a class without test images, one of files that are none, by extension."""
    shutil.rmtree(image_folder / "test" / "cat")
    cats = image_folder / "train" / "cat"
    for name in ("notes.txt", "more.csv", "Thumbs.db", ".DS_Store"):
        (cats / name).write_text("x")
    make_data(image_folder)
    left_out = f"left out .csv (1), .txt (1), such as {cats / 'more.csv'}"
    assert sorted(record.message for record in caplog.records) == [
        f"warning: {image_folder / 'test'}: has no images of cat",
        f"warning: {image_folder / 'train'}: {left_out}",
    ]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("pipeline", ["per_sample", "batched"])
def test_what_only_decoding_finds(image_folder: Path, pipeline: str, num_workers: int) -> None:
    """A file that breaks during training is named like any other, not in a worker's traceback."""
    data = make_data(image_folder, num_workers=num_workers, pipeline=pipeline)
    path = image_folder / "train" / "dog" / "5.png"
    cut(path, 60)
    said = ""
    try:
        [data.on_before_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    except DataError as error:  # its frames would keep a worker, and that hold up a later test
        said = str(error.with_traceback(None))
    assert said.startswith(f"{path}: cannot be decoded")
    assert "\n" not in said


def test_sizes_that_differ_are_named(image_folder: Path) -> None:
    """Without a size to resize to, the first image decides."""
    WIDE.save(image_folder / "train" / "dog" / "x.png")
    batches = list(make_data(image_folder, verify=False).train_dataloader())
    errors = [batch for batch in batches if isinstance(batch, DataError)]
    assert len(errors) == 1
    assert f"{OTHER_SIZE}; give data.image_size" in str(errors[0])


def test_the_device_holds_what_is_used(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a subset, with its validation: no other file is decoded, and batches are the same."""
    few = {"train_samples": 8, "test_samples": 3, "val_split": 0.5}
    batched = make_data(image_folder, pipeline="batched", **few)
    resident = make_data(image_folder, pipeline="device", **few)
    fetched: list[int] = []
    source = resident.loaded.train
    fetch = source.fetch
    monkeypatch.setattr(source, "fetch", lambda i: [fetched.extend(i), fetch(i)][1])
    for loaders in ("train_dataloader", "val_dataloader", "test_dataloader"):
        pairs = zip(getattr(batched, loaders)(), getattr(resident, loaders)(), strict=True)
        for theirs, ours in pairs:
            one = batched.on_after_batch_transfer(theirs, 0)
            other = resident.on_after_batch_transfer(ours, 0)
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert len(fetched) == 8
