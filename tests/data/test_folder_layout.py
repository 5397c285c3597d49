"""Folders as they come: read, or refused with what lies there; what is passed over is counted."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.image_kinds import JPEG
from helpers.pipelines import set_up

from hpml.data import ImageFolder
from hpml.data.folder_layout import find_layout
from hpml.errors import DataError


def make(root: Path, *paths: str) -> None:
    """Files below a folder: images, but for those by another name."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(JPEG)


def names(images: list[tuple[str, int]], root: Path) -> list[tuple[str, int]]:
    return [(Path(path).relative_to(root).as_posix(), label) for path, label in images]


CLASSES = ("train/cat/1.jpg", "train/dog/1.jpg")


NONE_IN_TEST = "test set: ROOT/val; ROOT/test has no images in the classes of ROOT/train: it holds"


@pytest.mark.parametrize(
    ("paths", "chosen", "told"),
    [
        (["test/cat/1.jpg"], "test", []),
        (["val/cat/1.jpg"], "val", []),
        (["valid/cat/1.jpg"], "valid", ["test set: ROOT/valid"]),
        (["Testing/cat/1.jpg"], "Testing", ["test set: ROOT/Testing"]),
        (
            ["test/cat/1.jpg", "val/cat/1.jpg"],
            "test",
            ["test set: ROOT/test; ROOT/val is not used"],
        ),
        (["test/1.jpg", "test/2.jpg", "val/cat/1.jpg"], "val", [f"{NONE_IN_TEST} 2 images"]),
        (
            ["test/unknown/1.jpg", "test.csv", "val/cat/1.jpg"],
            "val",
            [f"{NONE_IN_TEST} folders unknown"],
        ),
    ],
)
def test_the_test_set_is_the_first_folder_that_has_one(
    tmp_path: Path, caplog: Any, paths: list[str], chosen: str, told: list[str]
) -> None:
    """In the order test, val, with images in training's classes; a choice is told."""
    caplog.set_level(logging.INFO, "hpml")
    make(tmp_path, *CLASSES, *paths, f"{chosen}/dog/1.jpg")
    test = names(find_layout(tmp_path).test, tmp_path)
    assert test == [(f"{chosen}/cat/1.jpg", 0), (f"{chosen}/dog/1.jpg", 1)]
    assert [record.message.replace(str(tmp_path), "ROOT") for record in caplog.records] == told


TINY_IMAGENET = (
    *("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG"),
    *("val/images/val_0.JPEG", "val/val_annotations.txt", "test/images/test_0.JPEG", "wnids.txt"),
)


def test_tiny_imagenet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its training set is read; its others, without classes, are named."""
    caplog.set_level(logging.INFO, "hpml")
    make(tmp_path, *TINY_IMAGENET)
    layout = find_layout(tmp_path)
    assert names(layout.train, tmp_path) == [
        ("train/n01/images/n01_0.JPEG", 0),
        ("train/n02/images/n02_0.JPEG", 1),
    ]
    assert layout.test == []
    no_images = f"has no images in the classes of {tmp_path / 'train'}: it holds"
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'train'}: what lies deeper than a class's folder is of that class "
        f"({tmp_path / 'train/n01/images/n01_0.JPEG'})",
        f"warning: {tmp_path / 'test'} {no_images} folders images",
        f"warning: {tmp_path / 'val'} {no_images} val_annotations.txt, folders images",
    ]
    with pytest.raises(DataError, match=r"has no test set; give data\.val_split=0\.1"):
        set_up(ImageFolder, root=tmp_path, batch_size=1)
    set_up(ImageFolder, root=tmp_path, batch_size=1, val_split=0.5)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["1.jpg", "2.jpg", "labels.csv"],
            "ROOT: has no folder `train`; images lie in <root>/train/<class>/*. There: it holds 2 "
            "images, labels.csv; sort the images into a folder for each class by labels.csv",
        ),
        (
            ["train/1.jpg", "test/1.jpg", "train.csv"],
            "ROOT/train: give a folder for each class, at least two. train: it holds 1 image; sort "
            "the images into a folder for each class by train.csv",
        ),
        (
            ["cat/1.jpg", "dog/1.jpg", "eel/1.jpg", "fox/1.jpg"],
            "ROOT: has no folder `train`; images lie in <root>/train/<class>/*. There: it holds "
            "folders cat, dog, eel and 1 more; if these are the classes, move them into ROOT/train",
        ),
        (
            ["set/train/cat/1.jpg", "set/train/dog/1.jpg"],
            "ROOT: has no folder `train`; images lie in <root>/train/<class>/*. There: it holds "
            "folders set; give data.root=ROOT/set",
        ),
        (
            ["train/train/cat/1.jpg", "train/train/dog/1.jpg"],
            "ROOT/train: give a folder for each class, at least two. train: it holds folders "
            "train; give data.root=ROOT/train",
        ),
        (
            ["train/cat/1.jpg", "train/dog/1.heic", "train/dog/2.heic"],
            "ROOT/train/dog: a class without images: left out .heic (2), such as "
            "ROOT/train/dog/1.heic",
        ),
        (
            [*CLASSES, "test/cat/1.jpg", "test/dgo/1.jpg"],
            "ROOT/test/dgo: a class that ROOT/train does not have",
        ),
    ],
)
def test_other_layouts_are_named(tmp_path: Path, paths: list[str], message: str) -> None:
    """What lies there instead, and what to do, in one line."""
    make(tmp_path, *paths)
    with pytest.raises(DataError) as caught:
        find_layout(tmp_path)
    assert str(caught.value).replace(str(tmp_path), "ROOT").removeprefix("data.root=") == message


def test_training_by_another_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first that has classes, in whatever case."""
    caplog.set_level(logging.INFO, "hpml")
    make(
        tmp_path, "train/1.jpg", "Training/cat/1.jpg", "Training/dog/1.jpg", "Validation/cat/1.jpg"
    )
    assert find_layout(tmp_path).classes == ("cat", "dog")
    assert [record.message for record in caplog.records] == [
        f"training set: {tmp_path / 'Training'}",
        f"test set: {tmp_path / 'Validation'}",
        f"warning: {tmp_path / 'Validation'}: has no images of dog",
    ]
    settings = {"root": str(tmp_path), "image_size": None}
    assert ImageFolder.shape_without_loading(settings) is None  # the data is there


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_what_is_passed_over_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By reason, with an example; hidden files and the system's are not."""
    make(tmp_path, *CLASSES, "train/cat/2.jfif", "train/dog/2.pgm", "train/dog/3.JPG")
    make(tmp_path, "train/cat/a.txt", "train/cat/b.TXT", "train/cat/c", "train/0.jpg")
    make(tmp_path, "train/cat/desktop.ini", "train/dog/Thumbs.db", "train/dog/.hidden.jpg")
    make(tmp_path, "train/__MACOSX/x", "train/dog/@eaDir/1.jpg", "train/.ipynb_checkpoints/x.jpg")
    (tmp_path / "train/cat/gone.jpg").symlink_to("nowhere")
    (tmp_path / "train/cat/circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "train/cat/all").symlink_to(tmp_path)
    (tmp_path / "train/cat/linked.jpg").symlink_to("1.jpg")
    os.mkfifo(tmp_path / "train/dog/pipe.jpg")
    shutil.copytree(tmp_path / "train/cat", tmp_path / "test/cat", symlinks=True)
    layout = find_layout(tmp_path)
    assert names(layout.train, tmp_path / "train") == [
        *(("cat/1.jpg", 0), ("cat/2.jfif", 0), ("cat/linked.jpg", 0)),
        *(("dog/1.jpg", 1), ("dog/2.pgm", 1), ("dog/3.JPG", 1)),
    ]
    assert len(layout.test) == 3
    ours = [record.message for record in caplog.records if "left out" in record.message]
    assert ours == [
        f"warning: {tmp_path / 'train'}: left out no plain file (3), .txt (2), outside of any "
        f"class (1), link to a folder (1), no extension (1), such as {tmp_path / 'train/0.jpg'}",
        f"warning: {tmp_path / 'test'}: left out .txt (2), no plain file (2), link to a folder "
        f"(1), no extension (1), such as {tmp_path / 'test/cat/a.txt'}",
    ]


def test_images_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    """As torchvision has them: class by class, a folder's own before those below it."""
    make(tmp_path, *CLASSES, "train/cat/b/2.jpg", "train/cat/a/3.jpg", "train/cat/c.jpg")
    order = ["cat/1.jpg", "cat/c.jpg", "cat/a/3.jpg", "cat/b/2.jpg", "dog/1.jpg"]
    assert [name for name, _ in names(find_layout(tmp_path).train, tmp_path / "train")] == order
