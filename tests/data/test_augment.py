import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from hpml.data import augment
from hpml.data.augment import PADDING, Draws, crop_flip_batch, draw, normalize


def test_draws_are_a_function_of_seed_epoch_and_index() -> None:
    """A sample's draws do not depend on the batch that it comes in."""
    epochs, indices = np.full(64, 3), np.arange(64)
    together = draw(0, epochs, indices)
    alone = draw(0, epochs[10:11], indices[10:11])
    for name in ("top", "left", "flip"):
        assert getattr(together, name)[10] == getattr(alone, name)[0]
    other = draw(0, epochs + 1, indices)
    assert (together.top != other.top).any()


def test_draws_are_spread_evenly() -> None:
    """Each of the nine offsets and both flips come equally often, each apart from the others."""
    draws = draw(0, np.zeros(90_000, int), np.arange(90_000))
    for offsets in (draws.top, draws.left):
        # 10,000 expected of each: the standard deviation is 94
        assert np.abs(np.bincount(offsets, minlength=9) - 10_000).max() < 500
    assert abs(draws.flip.mean() - 0.5) < 0.01
    assert abs(np.corrcoef([draws.top, draws.left, draws.flip])[np.triu_indices(3, 1)]).max() < 0.02


@pytest.mark.parametrize(("height", "width"), [(32, 32), (9, 14)])
def test_three_ways_give_the_same_pixels(height: int, width: int) -> None:
    """One image, a batch, and a gather from a padded set: the image itself in its centre."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (64, 3, height, width), dtype=np.uint8)
    draws = draw(5, np.full(64, 1), np.arange(64))
    batched = crop_flip_batch(images, draws)
    centre = np.full(64, PADDING)
    assert (crop_flip_batch(images, Draws(centre, centre, np.zeros(64, bool))) == images).all()

    padded = torch.from_numpy(np.pad(images, ((0, 0), (0, 0), (PADDING,) * 2, (PADDING,) * 2)))
    arrays = (np.arange(64), draws.top, draws.left, draws.flip)
    gathered = augment.crop_flip_gather(padded, *(torch.from_numpy(array) for array in arrays))
    assert torch.equal(gathered, torch.from_numpy(batched))

    for position in range(64):
        image = Image.fromarray(images[position].transpose(1, 2, 0))
        of_one = (each[position] for each in (draws.top, draws.left, draws.flip))
        alone = augment.crop_flip_image(image, *of_one)
        assert (np.asarray(alone).transpose(2, 0, 1) == batched[position]).all()


def test_normalize_gives_torchvisions_bits() -> None:
    """All 256 values of a pixel come out exactly as from ToTensor and Normalize."""
    mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)[:, :, None].repeat(3, axis=2)
    expected = functional.normalize(functional.to_tensor(pixels), mean, std)
    images = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    shape = (3, 1, 1)
    ours = normalize(images, torch.tensor(mean).view(shape), torch.tensor(std).view(shape))
    assert torch.equal(ours[0], expected)
