"""Small data in the real formats, and a way to compose configurations."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra.core.hydra_config import HydraConfig
from hypothesis import settings
from PIL import Image
from torchvision.datasets import CIFAR10

from helpers.configurations import Compose, composed
from helpers.left_out import leave_out
from helpers.pages import dots_per_inch
from helpers.remembered import remember_configurations, remember_plugins

remember_configurations()
remember_plugins()
leave_out()
# A busy machine is no wrong answer.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _coarse_pictures() -> Iterator[None]:
    """Most of a picture's time goes into dots, which hardly any test counts."""
    with dots_per_inch(20):
        yield


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """Composes a run's configuration from overrides; the run goes into a temporary directory."""
    return partial(composed, tmp_path / "run")


@pytest.fixture(autouse=True)
def _no_hydra_state() -> Iterator[None]:
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes of eight training and two test images each, PNG, 8×8."""
    root = tmp_path / "images"
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture
def cifar10_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive in the original's format, whose sums torchvision is told to expect."""
    folder = tmp_path / "server"
    folder.mkdir()
    random = np.random.default_rng(0)
    members = {}
    for name, count in [(f"data_batch_{k}", 4) for k in range(1, 6)] + [("test_batch", 10)]:
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        members[name] = {"data": pixels, "labels": random.integers(0, 10, count).tolist()}
    members["batches.meta"] = {"label_names": [f"class{k}" for k in range(10)]}
    sums = {}
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in members.items():
            raw = pickle.dumps(content)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
            sums[name] = hashlib.md5(raw).hexdigest()
    *train, test, (_, meta) = map(list, sums.items())
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [test])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive
