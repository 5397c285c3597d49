import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hpml.data.sources import Pixels
from hpml.data.synthetic import CLASSES, Synthetic, generate
from hpml.models.networks import small

STATISTICS = {"mean": [0.5] * 3, "std": [0.25] * 3}


def test_it_is_the_same_every_time() -> None:
    """The same images for the same size, others in the test set; labels go round."""
    one, labels = generate(50, 32, stream=0)
    assert (one == generate(50, 32, stream=0)[0]).all()
    assert (one != generate(50, 32, stream=1)[0]).any()
    assert np.bincount(labels).tolist() == [5] * 10


def test_any_number_and_size() -> None:
    """From a single small sample to sizes that are no power of two."""
    for samples, size in ((1, 8), (7, 40), (1025, 9)):
        images, labels = generate(samples, size, stream=0)
        assert images.shape == (samples, 3, size, size)
        assert images.dtype == np.uint8
        assert len(labels) == samples


def test_classes_look_the_same_in_a_mirror() -> None:
    """Flipping does not bring an image closer to another class: class spectra are symmetric."""
    images, labels = generate(4000, 32, stream=0)
    spectra = np.abs(np.fft.fft2(images.mean(axis=1) - images.mean(axis=(1, 2, 3))[:, None, None]))
    for label in range(len(CLASSES)):
        mean = spectra[labels == label].mean(axis=0)
        mirrored = np.roll(mean[:, ::-1], 1, axis=1)
        assert np.abs(mean - mirrored).mean() < 0.1 * mean.mean()


def test_a_network_learns_it_and_a_linear_model_does_not() -> None:
    """After four epochs the small network is far above chance, a linear model far below it."""
    accuracies = {}
    networks: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
        "small": lambda: small(10, width=8),
    }
    for name, make in networks.items():
        torch.manual_seed(0)
        data = Synthetic(train_samples=2000, test_samples=500, batch_size=50, **STATISTICS)
        data.setup()
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        loader = data.train_dataloader()
        for epoch in range(4):
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                images, labels = data.on_after_batch_transfer(batch, 0)
                loss = F.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in data.test_dataloader():
                images, labels = data.on_after_batch_transfer(batch, 0)
                right += int((model(images).argmax(1) == labels).sum())
        accuracies[name] = right / 500
    assert accuracies["small"] > 0.6, accuracies
    assert accuracies["linear"] < 0.4, accuracies


def test_encoded_samples_are_nearly_the_same() -> None:
    """JPEG bytes in memory decode to what was put in, up to the loss of the encoding."""
    plain, encoded = (
        Synthetic(train_samples=20, test_samples=20, encoded=kind, batch_size=4, **STATISTICS)
        for kind in ("none", "jpeg")
    )
    plain.setup()
    encoded.setup()
    indices = np.array([3, 0, 19])
    one, other = (d.loaded.train.fetch(indices).astype(int) for d in (plain, encoded))
    assert one.shape == other.shape
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.7


def test_it_is_in_memory_once() -> None:
    """Making a set takes little more memory than the set: no second one stands beside it."""
    data = Synthetic(train_samples=40_000, test_samples=64, image_size=8, **STATISTICS)
    tracemalloc.start()
    data.setup()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(data.loaded.train, Pixels)
    assert peak < 1.4 * data.loaded.train.padded.nbytes


def test_a_pipeline_that_does_not_exist_is_told() -> None:
    """From Python too, where no configuration is checked."""
    for name in ("bached", "auto"):
        with pytest.raises(ValueError, match="give one of per_sample, batched, device"):
            Synthetic(pipeline=name, train_samples=20, test_samples=20, batch_size=4, **STATISTICS)
