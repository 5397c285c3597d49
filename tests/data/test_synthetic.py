import tracemalloc

import numpy as np
import pytest
from helpers.configurations import TINY, Compose
from helpers.pipelines import make_data

from hpml.data.storage import Pixels
from hpml.data.synthetic import CLASSES, generate
from hpml.train import train


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


@pytest.mark.slow
def test_a_network_learns_it_and_a_linear_model_does_not(compose: Compose) -> None:
    """After four epochs the small network is far above chance, a linear model far below it."""
    words = [*TINY, "data.train_samples=2000", "data.test_samples=500", "data.batch_size=50"]
    words += ["optimizer=adam", "optimizer.lr=0.002", "trainer.max_epochs=4", "logger=none"]
    linear = {"_target_": "helpers.own.linear", "num_classes": None}
    configurations = compose(*words, model=linear), compose(*words, "model.width=8")
    records = [train(cfg) for cfg in configurations]
    worse, better = (record.last_metric("val/accuracy") or 0 for record in records)
    assert worse < 0.4 < 0.6 < better


def test_encodings_and_pipelines() -> None:
    """JPEG bytes decode to what was put in, nearly; a pipeline that does not exist is told."""
    both = (make_data(image_size=32, encoded=kind) for kind in ("none", "jpeg"))
    one, other = (d.loaded.train.fetch(np.array([3, 0, 19])).astype(int) for d in both)
    assert one.shape == other.shape
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.7
    for name in ("bached", "auto"):
        with pytest.raises(ValueError, match="give one of per_sample, batched, device"):
            make_data(pipeline=name)


def test_it_is_in_memory_once() -> None:
    """Making a set takes little more memory than the set: no second one stands beside it."""
    tracemalloc.start()
    data = make_data(train_samples=40_000, image_size=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(data.loaded.train, Pixels)
    assert peak < 1.4 * data.loaded.train.padded.nbytes
