"""A random part of each image, resized: where it lies, its pixels, the same in every pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pipelines import batches, same, set_up
from PIL import Image
from torchvision.transforms import v2

from hpml.data import ImageFolder
from hpml.data.resized_crop import AREA, RATIO, draw_resized

INDICES = np.arange(500)


def draws(seed: int = 0, epoch: int = 0) -> Any:
    return draw_resized(seed, np.full(len(INDICES), epoch), INDICES, "random", (24, 20))


@pytest.fixture
def of_any_size(image_folder: Path) -> Path:
    """A data set whose images differ in size, kind and mode."""
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate([(40, 61), (75, 50), (9, 120), (33, 33)]):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for kind in ("jpg", "png"):
            Image.fromarray(pixels).save(image_folder / "train" / "cat" / f"large{number}.{kind}")
    gray = Image.fromarray(random.integers(0, 65536, (30, 20), dtype=np.uint16))
    gray.save(image_folder / "train" / "dog" / "deep.png")
    return image_folder


def test_parts_are_torchvisions() -> None:
    """Within the image, of its area and proportions; other draws by seed, epoch and index."""
    boxes = np.array([draws().box(position, 375, 500) for position in INDICES])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 375).all()
    assert (left + width <= 500).all()
    area, ratio = height * width / (375 * 500), width / height
    assert AREA[0] * 0.98 < area.min() < 0.12
    assert 0.9 < area.max() < AREA[1] * 1.02
    assert RATIO[0] * 0.98 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < RATIO[1] * 1.02
    assert draws().flip.mean() == pytest.approx(0.5, abs=0.06)
    torch.manual_seed(0)
    sizes = (v2.RandomResizedCrop(8).make_params([torch.empty(3, 375, 500)]) for _ in range(500))
    theirs = np.mean([each["height"] * each["width"] for each in sizes]) / (375 * 500)
    assert area.mean() == pytest.approx(theirs, abs=0.05)
    for other in (draws(seed=1), draws(epoch=1)):
        assert (other.area != draws().area).all()
        assert (other.place != draws().place).all()


@pytest.mark.parametrize(
    ("size", "box"), [((10, 400), (0, 193, 10, 13)), ((400, 9), (194, 0, 12, 9))]
)
def test_where_no_part_fits(size: tuple[int, int], box: tuple[int, ...]) -> None:
    """The middle, in the nearest proportions, as torchvision has it."""
    none_fits = draw_resized(0, np.zeros(1, np.int64), np.zeros(1, np.int64), "random", (8, 8))
    none_fits.area[:] = 1.0
    assert none_fits.box(0, *size) == box


def test_pixels_are_torchvisions() -> None:
    """Those of its operation on tensors; of PIL images none is off by more than two levels."""
    pixels = np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    image, tensor = Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1)
    crops = draws()
    for position in range(40):
        box = crops.box(position, 75, 100)
        cropped = torch.from_numpy(crops.apply(pixels.transpose(2, 0, 1), position))
        expected = v2.functional.resized_crop(tensor, *box, [24, 20], antialias=True)
        flipped = v2.functional.horizontal_flip(expected) if crops.flip[position] else expected
        assert torch.equal(cropped, flipped)
        of_pil = v2.functional.pil_to_tensor(v2.functional.resized_crop(image, *box, [24, 20]))
        assert (expected.int() - of_pil.int()).abs().max() <= 2


def test_all_pipelines_give_the_same_bits(of_any_size: Path) -> None:
    """However many workers load, processes or threads; other parts in the second epoch."""
    settings = {"root": of_any_size, "image_size": 16, "crop": "resized"}
    reference = batches(set_up(ImageFolder, **settings))
    assert reference[0][0].shape == (4, 3, 16, 16)
    assert not same(reference[:6], reference[6:12])
    assert same(reference, batches(set_up(ImageFolder, pipeline="per_sample", **settings)))
    for workers in ("processes", "threads"):
        data = set_up(ImageFolder, num_workers=2, workers=workers, **settings)
        assert same(reference, batches(data)), workers


def test_validation_is_not_cropped(of_any_size: Path) -> None:
    """It is resized as a whole, as it is without `augment`."""
    settings = {"root": of_any_size, "image_size": 16, "val_split": 0.25}
    padded, resized = (set_up(ImageFolder, crop=crop, **settings) for crop in ("padded", "resized"))
    assert same(list(padded.val_dataloader()), list(resized.val_dataloader()))
    one, other = (
        batches(set_up(ImageFolder, crop=crop, augment=False, **settings), epochs=1)
        for crop in ("padded", "resized")
    )
    assert same(one, other)


def test_images_of_one_size_need_none_given(image_folder: Path) -> None:
    """Parts become as large as the images are."""
    data = set_up(ImageFolder, root=image_folder, crop="resized")
    assert next(iter(data.train_dataloader()))[0].shape == (4, 3, 8, 8)
