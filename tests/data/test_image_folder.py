import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hpml.data import ImageFolder
from hpml.data.image_folder import verify
from hpml.errors import DataError


def make_data(root: Path, **settings: Any) -> ImageFolder:
    return ImageFolder(
        str(root), **{"batch_size": 4, "mean": [0.5] * 3, "std": [0.25] * 3} | settings
    )


def test_it_reads_classes_and_pixels(image_folder: Path) -> None:
    """Labels number the sorted folders; pixels are those of the file."""
    data = make_data(image_folder)
    data.setup()
    assert data.loaded is not None
    assert data.loaded.classes == ("cat", "dog")
    assert data.loaded.train.labels.tolist() == [0] * 8 + [1] * 8
    with Image.open(image_folder / "train" / "dog" / "2.png") as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    assert (data.loaded.train.fetch(np.array([10]))[0] == expected).all()


def test_in_memory_holds_the_same_pixels(image_folder: Path) -> None:
    """Decoding once or in every epoch gives the same batches."""
    plain, kept = make_data(image_folder), make_data(image_folder, in_memory=True)
    for data in (plain, kept):
        data.setup()
    pairs = zip(plain.train_dataloader(), kept.train_dataloader(), strict=True)
    assert all(torch.equal(one[0], other[0]) for one, other in pairs)


def test_any_format_mode_and_size(image_folder: Path) -> None:
    """Gray of 8 and 16 bits, palette and transparent images become RGB, of one size."""
    folder = image_folder / "train" / "cat"
    Image.new("L", (20, 10), 128).save(folder / "gray.jpg")
    Image.new("RGBA", (5, 9), (1, 2, 3, 0)).save(folder / "clear.png")
    Image.new("P", (8, 8)).save(folder / "palette.gif")
    Image.new("I;16", (8, 8), 32768).save(folder / "deep.png")
    data = make_data(image_folder, image_size=16)
    data.setup()
    assert data.loaded is not None
    images = data.loaded.train.fetch(np.arange(len(data.loaded.train)))
    assert images.shape == (20, 3, 16, 16)
    names = [Path(path).name for path in data.loaded.train.paths]  # type: ignore[attr-defined]
    assert abs(int(images[names.index("gray.jpg")].mean()) - 128) < 3
    assert images[names.index("deep.png")].mean() == pytest.approx(32768 // 257, abs=1)


def test_val_serves_as_test(image_folder: Path) -> None:
    """`<root>/val` is taken where there is no `test`."""
    (image_folder / "test").rename(image_folder / "val")
    data = make_data(image_folder)
    data.setup()
    assert data.test is not None
    assert len(data.test) == 4


def broken_jpeg(folder: Path, keep: float) -> Path:
    path = folder / "broken.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def spoil(root: Path, how: str) -> None:
    cats = root / "train" / "cat"
    if how == "empty class":
        (root / "train" / "bird").mkdir()
    elif how == "new class in test":
        (root / "test" / "bird").mkdir()
    elif how == "one class":
        (root / "train" / "dog").rename(root / "dog")
    elif how == "no train":
        (root / "train").rename(root / "training")
    elif how == "no test":
        (root / "test").rename(root / "testing")
    elif how == "text":
        (cats / "a.jpg").write_text("no image at all")
    elif how == "nothing":
        (cats / "a.jpg").write_bytes(b"")
    elif how == "truncated jpeg":
        broken_jpeg(cats, keep=0.9)
    elif how == "other size":
        Image.new("RGB", (9, 8)).save(root / "test" / "dog" / "1.png")
    elif how == "truncated png":
        content = (cats / "0.png").read_bytes()
        (cats / "0.png").write_bytes(content[:-20])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty class", "train/bird: a class without images"),
        ("new class in test", "test/bird: a class that .*train does not have"),
        ("one class", "train: give a folder for each class"),
        ("no train", "data.root=.*images: has no folder `train`"),
        ("no test", "images: has no test set; give data.val_split"),
        ("text", r"train/cat/a.jpg: not an image that can be read \(15 bytes\)"),
        ("nothing", r"train/cat/a.jpg: not an image that can be read \(0 bytes\)"),
        ("truncated jpeg", "train/cat/broken.jpg: not an image that can be read"),
        ("other size", "test/dog/1.png: 9×8 pixels where the first image has 8×8"),
        ("truncated png", "train/cat/0.png: the file is truncated"),
    ],
)
def test_bad_data_is_one_line_with_its_path(image_folder: Path, how: str, message: str) -> None:
    """Before training starts, in one line that names the file or folder."""
    spoil(image_folder, how)
    with pytest.raises(DataError, match=message) as caught:
        make_data(image_folder).setup()
    assert "\n" not in str(caught.value)


def test_an_unreadable_first_image_is_named(image_folder: Path) -> None:
    """Where nothing is verified the next one tells the size; where none does, it is named."""
    path = image_folder / "train" / "cat" / "0.png"
    path.write_bytes(b"")
    named = r"cat/0.png: not an image that can be read \(0 bytes\)"
    with pytest.raises(DataError, match=named):
        make_data(image_folder).setup()
    make_data(image_folder, verify=False).setup()
    for other in (image_folder / "train").rglob("*.png"):
        other.write_bytes(b"")
    with pytest.raises(DataError, match=named):
        make_data(image_folder, verify=False).setup()


def test_a_class_without_test_images_is_told(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its accuracy is not measured: one warning."""
    shutil.rmtree(image_folder / "test" / "cat")
    make_data(image_folder).setup()
    assert [record.message for record in caplog.records] == [
        f"warning: {image_folder / 'test'}: has no images of cat"
    ]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    """The key and the path."""
    with pytest.raises(DataError, match=r"data.root=.*nowhere: there is no such folder"):
        make_data(tmp_path / "nowhere").setup()


def test_a_set_smaller_than_a_batch_is_named(image_folder: Path) -> None:
    """The key, the value, and how many samples there are."""
    with pytest.raises(DataError, match=r"data.batch_size=17: the training set has only 16"):
        make_data(image_folder, batch_size=17).setup()


def test_more_samples_than_there_are_is_named(image_folder: Path) -> None:
    """A subset cannot be larger than the set."""
    with pytest.raises(DataError, match=r"data.train_samples=17: there are only 16"):
        make_data(image_folder, train_samples=17).setup()


def test_strays_are_left_out_with_one_warning(
    image_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is no image is named once; what systems leave behind is passed over."""
    cats = image_folder / "train" / "cat"
    for name in ("notes.txt", "more.csv", "Thumbs.db", ".DS_Store"):
        (cats / name).write_text("x")
    with caplog.at_level(logging.WARNING, logger="hpml"):
        make_data(image_folder).setup()
    assert [record.message for record in caplog.records] == [
        f"warning: {cats / 'more.csv'} and 1 more: no image, left out"
    ]


def test_a_jpeg_with_bytes_behind_its_end_is_an_image(image_folder: Path) -> None:
    """Some cameras write on behind the image; it decodes all the same."""
    path = broken_jpeg(image_folder / "train" / "cat", keep=1)
    path.write_bytes(path.read_bytes() + b"maker's notes")
    assert verify(path) == (8, 8)
    data = make_data(image_folder)
    data.setup()
    assert data.loaded is not None
    assert len(data.loaded.train) == 17


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("pipeline", ["per_sample", "batched"])
def test_what_only_decoding_finds_is_raised_in_the_training_process(
    image_folder: Path, pipeline: str, num_workers: int
) -> None:
    """A file that breaks during training is told like any other, not in a worker's traceback."""
    data = make_data(image_folder, num_workers=num_workers, pipeline=pipeline)
    data.setup()
    path = image_folder / "train" / "dog" / "5.png"
    path.write_bytes(path.read_bytes()[:60])

    def read_all() -> None:
        for batch in data.train_dataloader():
            data.on_before_batch_transfer(batch, 0)

    with pytest.raises(DataError) as caught:
        read_all()
    assert str(caught.value).startswith(f"{path}: cannot be decoded")
    assert "\n" not in str(caught.value)


def test_sizes_that_differ_are_named(image_folder: Path) -> None:
    """Without a size to resize to, the first image decides."""
    Image.new("RGB", (9, 8)).save(image_folder / "train" / "dog" / "x.png")
    data = make_data(image_folder, verify=False)
    data.setup()
    batches = list(data.train_dataloader())
    errors = [batch for batch in batches if isinstance(batch, DataError)]
    assert len(errors) == 1
    assert "9×8 pixels where the first image has 8×8; give data.image_size" in str(errors[0])


def test_the_device_holds_what_is_used_alone(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a subset, with its validation: no other file is decoded, and batches are the same."""
    few = {"train_samples": 8, "test_samples": 3, "val_split": 0.5}
    batched, resident = (
        make_data(image_folder, pipeline=name, **few) for name in ("batched", "device")
    )
    fetched: list[int] = []
    for data in (batched, resident):
        data.setup()
    source = resident.loaded.train  # type: ignore[union-attr]
    fetch = source.fetch
    monkeypatch.setattr(source, "fetch", lambda i: [fetched.extend(i), fetch(i)][1])
    for loaders in ("train_dataloader", "val_dataloader", "test_dataloader"):
        pairs = zip(getattr(batched, loaders)(), getattr(resident, loaders)(), strict=True)
        for theirs, ours in pairs:
            one = batched.on_after_batch_transfer(theirs, 0)
            other = resident.on_after_batch_transfer(ours, 0)
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    assert len(fetched) == 8
