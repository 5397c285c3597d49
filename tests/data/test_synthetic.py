import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hpml.data.storage import Pixels
from hpml.data.synthetic import CLASSES, Synthetic, generate
from hpml.models.networks import small


def made(**settings: Any) -> Synthetic:
    data = Synthetic(**{"test_samples": 20, "mean": [0.5] * 3, "std": [0.25] * 3} | settings)
    data.setup()
    return data


def test_images_of_classes() -> None:
    """Others in the test set; labels go round. No flip brings an image closer to another class."""
    one, labels = generate(50, 32, stream=0)
    assert (one == generate(50, 32, stream=0)[0]).all()
    assert (one != generate(50, 32, stream=1)[0]).any()
    assert np.bincount(labels).tolist() == [5] * 10
    for samples, size in ((1, 8), (7, 40), (1025, 9)):  # no powers of two
        images, labels = generate(samples, size, stream=0)
        assert (images.shape, images.dtype) == ((samples, 3, size, size), np.uint8)
        assert len(labels) == samples
    images, labels = generate(4000, 32, stream=0)
    spectra = np.abs(np.fft.fft2(images.mean(axis=1) - images.mean(axis=(1, 2, 3))[:, None, None]))
    for label in range(len(CLASSES)):
        mean = spectra[labels == label].mean(axis=0)
        mirrored = np.roll(mean[:, ::-1], 1, axis=1)
        assert np.abs(mean - mirrored).mean() < 0.1 * mean.mean()


def test_a_network_learns_it_and_a_linear_model_does_not() -> None:
    """After four epochs the small network is far above chance, a linear model far below it."""
    torch.manual_seed(0)
    accuracies = []
    for model in (nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), small(10, width=8)):
        data = made(train_samples=2000, test_samples=500, batch_size=50)
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
        accuracies.append(right / 500)
    assert accuracies[0] < 0.4 < 0.6 < accuracies[1], accuracies


def test_encodings_and_pipelines() -> None:
    """JPEG bytes decode to what was put in, nearly; a pipeline that does not exist is told."""
    both = (made(train_samples=20, encoded=kind, batch_size=4) for kind in ("none", "jpeg"))
    one, other = (d.loaded.train.fetch(np.array([3, 0, 19])).astype(int) for d in both)
    assert one.shape == other.shape
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.7
    for name in ("bached", "auto"):
        with pytest.raises(ValueError, match="give one of per_sample, batched, device"):
            made(pipeline=name, train_samples=20, batch_size=4)


def test_it_is_in_memory_once() -> None:
    """Making a set takes little more memory than the set: no second one stands beside it."""
    tracemalloc.start()
    data = made(train_samples=40_000, image_size=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(data.loaded.train, Pixels)
    assert peak < 1.4 * data.loaded.train.padded.nbytes
