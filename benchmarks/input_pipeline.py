"""Images/s of each pipeline and number of workers, beside a plain torchvision DataLoader.

    python benchmarks/input_pipeline.py

All of them crop, flip, and shuffle the same 32×32 images in memory, in batches of 128, in one run,
in turn. Timed are whole epochs of a loader whose workers are running already, one after the other
for at least half a second. `batched` and `device` give uint8 to the device, which normalises it;
the rows "and normalised" do that on the CPU too.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from harness import interleaved, ratios, spread, write
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hpml.data import Synthetic
from hpml.data.synthetic import generate

ROUNDS = 5
WORKERS = (0, 1, 2, 4)
BATCH_SIZE = 128
SAMPLES = 10_000
AT_LEAST_S = 0.5
STATISTICS = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}


class PlainImages(Dataset[Any]):
    """Images as torchvision's CIFAR10 keeps them: an array, a PIL image for each access."""

    def __init__(self, samples: int) -> None:
        images, self.labels = generate(samples, 32, stream=0)
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(STATISTICS["mean"], STATISTICS["std"]),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain(num_workers: int) -> Callable[[], float]:
    """An epoch through torchvision's transforms and torch's own shuffling."""
    loader = DataLoader(
        PlainImages(SAMPLES),
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    return lambda: images_per_s(loader, lambda batch: batch)


def ours(pipeline: Any, num_workers: int, finish: bool) -> Callable[[], float]:
    """An epoch through one of hpml's pipelines, with what the device would do if `finish`."""
    data = Synthetic(
        train_samples=SAMPLES,
        test_samples=BATCH_SIZE,
        pipeline=pipeline,
        num_workers=num_workers,
        batch_size=BATCH_SIZE,
        **STATISTICS,
    )
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


def main() -> None:
    """Measures everything in turn and writes it down."""
    cases: dict[str, Callable[[], float]] = {}
    for workers in WORKERS:
        cases[f"plain torchvision|{workers}"] = plain(workers)
        cases[f"per_sample|{workers}"] = ours("per_sample", workers, finish=False)
        cases[f"batched, uint8|{workers}"] = ours("batched", workers, finish=False)
        cases[f"batched, and normalised|{workers}"] = ours("batched", workers, finish=True)
    cases["device (on this CPU), and normalised|0"] = ours("device", 0, finish=True)
    seen = interleaved(cases, ROUNDS)
    rows = [["pipeline", "workers", "images/s", "times plain, 0 workers", "times plain, as many"]]
    for name, values in seen.items():
        pipeline, workers = name.split("|")
        rows.append(
            [
                pipeline,
                workers,
                spread(values),
                spread(ratios(values, seen["plain torchvision|0"]), ".2f"),
                spread(ratios(values, seen[f"plain torchvision|{workers}"]), ".2f"),
            ]
        )
    told = (
        f"Median (lowest to highest) of {ROUNDS} rounds, batches of {BATCH_SIZE}, "
        f"torch with {torch.get_num_threads()} threads. Ratios are taken within a round. "
        f"{SAMPLES:,} images of 32×32, generated, in memory."
    )
    write("input_pipeline", "The input pipelines", told, rows, seen)


if __name__ == "__main__":
    main()
