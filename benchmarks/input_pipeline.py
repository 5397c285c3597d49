"""Images/s of each pipeline and number of workers, beside a plain torchvision DataLoader.

    python benchmarks/input_pipeline.py

All of them crop, flip, and shuffle the same generated 32×32 images in memory, in batches of 128, in
one run, in turn. Timed are whole epochs of a loader whose workers are running already, one after
the other for at least half a second; median (lowest to highest), ratios within a round. `batched`
and `device` give uint8 to the device, which normalises it; the rows "and normalised" do that on the
CPU too.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from harness import Page, interleaved, main, spread
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hpml.data import Synthetic
from hpml.data.synthetic import generate

WORKERS = (0, 1, 2, 4)
BATCH_SIZE = 128
AT_LEAST_S = 0.5
STATISTICS = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}


class PlainImages(Dataset[Any]):
    """Images as torchvision's CIFAR10 keeps them: an array, a PIL image for each access."""

    def __init__(self, samples: int) -> None:
        images, self.labels = generate(samples, 32, stream=0)
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        finish = [transforms.ToTensor(), transforms.Normalize(**STATISTICS)]
        self.transform = transforms.Compose([*augment, *finish])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain(samples: int, workers: int) -> Callable[[], float]:
    """Epochs through torchvision's transforms and torch's own shuffling."""
    persistent = workers > 0
    loader = DataLoader(
        PlainImages(samples), BATCH_SIZE, True, num_workers=workers, persistent_workers=persistent
    )
    return lambda: images_per_s(loader, lambda batch: batch)


def ours(pipeline: Any, samples: int, workers: int, finish: bool = False) -> Callable[[], float]:
    """Epochs through one of hpml's pipelines, with what the device would do if `finish`."""
    sizes = {"train_samples": samples, "test_samples": BATCH_SIZE, "batch_size": BATCH_SIZE}
    data = Synthetic(**sizes, pipeline=pipeline, num_workers=workers, **STATISTICS)
    data.setup()
    loader = data.train_dataloader()
    after = (lambda batch: data.on_after_batch_transfer(batch, 0)) if finish else (lambda b: b)
    return lambda: images_per_s(loader, after)


def images_per_s(loader: Iterable[Any], after: Callable[[Any], Any]) -> float:
    """Whole epochs, each from asking for its first batch to having its last."""
    images = 0
    started = time.perf_counter()
    while time.perf_counter() - started < AT_LEAST_S:
        for batch in loader:
            images += len(after(batch)[0])
    return images / (time.perf_counter() - started)


def measure(rounds: int = 5, samples: int = 10_000) -> Page:
    """Every pipeline with every number of workers, in turn."""
    cases: dict[str, Callable[[], float]] = {}
    for workers in WORKERS:
        cases[f"plain torchvision|{workers}"] = plain(samples, workers)
        cases[f"per_sample|{workers}"] = ours("per_sample", samples, workers)
        cases[f"batched, uint8|{workers}"] = ours("batched", samples, workers)
        cases[f"batched, and normalised|{workers}"] = ours("batched", samples, workers, finish=True)
    cases["device (on this CPU), and normalised|0"] = ours("device", samples, 0, finish=True)
    seen = interleaved(cases, rounds)
    rows = [["pipeline", "workers", "images/s", "times plain, 0 workers", "times plain, as many"]]
    for name, values in seen.items():
        pipeline, count = name.split("|")
        plains = [seen[f"plain torchvision|{of}"] for of in ("0", count)]
        compared = [spread(values / of, ".2f") for of in plains]
        rows.append([pipeline, count, spread(values), *compared])
    return Page([f"torch has {torch.get_num_threads()} threads.", rows], seen)


if __name__ == "__main__":
    main(measure, rounds=1, samples=256)
