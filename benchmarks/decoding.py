"""Class folders of JPEGs: a core's time an image by decoder, and two threads beside two processes.

    python benchmarks/decoding.py                                # generated images
    python benchmarks/decoding.py --root FOLDER                  # with train/ and test/ of 32×32
    pip install --no-deps --target FOLDER spdl spdl-core
    python benchmarks/decoding.py --spdl FOLDER                  # and a peer, SPDL

(1) Small: 32×32, cropped with padding, flipped, normalised, shuffled, in batches of 128. (2) Large:
500×375 to 224×224 by random resized crop, flipped, normalised, in batches of 16; generated, of the
bytes of a photograph. Twice as large: the same of 1,000×750, which `decode_size=224` decodes at a
half. All without workers and with one thread: microseconds of process time an image, in whole
epochs after a first one, from asking for a batch to having it normalised. `plain` is torchvision's
ImageFolder and its transforms in a DataLoader.

(3) The loader alone, `batched`, by two workers that live on, each case in a fresh process: images/s
by the wall clock over whole epochs (of 12,800 of the small images) after a first one, all cores'
time an image, how often the training process waited (voluntary switches an image), the memory that
loading adds (PSS of the process and its workers in an epoch, less that before), and of two threads
the share of their time, without what they waited for a core, in which they were blocked: by the
interpreter's lock, since files are in the system's cache and the next batch is always asked for.
SPDL's pipeline of two threads is given the same batches to make. Medians (lowest to highest);
ratios within a round.
"""

import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from harness import Page, fresh, interleaved, main, spread
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from hpml.data import ImageFolder
from hpml.data.synthetic import generate

STATISTICS = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
SMALL = {"batch_size": 128}
LARGE = {"batch_size": 16, "image_size": 224, "crop": "resized"}
LARGE_SIDES, TWICE_SIDES = (375, 500), (750, 1000)  # height and width
PLAIN = "plain torchvision"
PROCESSES, THREADS, SPDL = "two processes", "two threads", "SPDL, two threads"


def small_images(root: Path, samples: int) -> None:
    """Generated 32×32 images."""
    for split, count in (("train", samples), ("test", 128)):
        images, labels = generate(count, 32, stream=0)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            save(image.transpose(1, 2, 0), root / split / str(label) / f"{number}.jpg")


def large_images(root: Path, samples: int, sides: tuple[int, int] = LARGE_SIDES) -> None:
    """Noise with the spectrum of photographs: 107 KB an image of 500×375 at quality 90."""
    random, (height, width) = np.random.default_rng(0), sides
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    for number in range(samples):
        white = random.standard_normal((3, height, width))
        fields = np.fft.ifft2(np.fft.fft2(white) / frequency**1.1).real.transpose(1, 2, 0)
        image = fields[..., :1] * 0.8 + fields * 0.3
        image = image / image.std() * 50 + 120 + random.standard_normal(image.shape) * 6
        for split in ("train", "test")[: 1 + (number < 4)]:
            save(
                image.clip(0, 255).astype(np.uint8),
                root / split / "ab"[number % 2] / f"{number}.jpg",
            )


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def plain(root: Path, augment: list[Any], batch_size: int) -> Callable[[], float]:
    finish = [transforms.ToTensor(), transforms.Normalize(**STATISTICS)]
    steps = [*augment, transforms.RandomHorizontalFlip(), *finish]
    data = datasets.ImageFolder(str(root / "train"), transforms.Compose(steps))
    return partial(microseconds, DataLoader(data, batch_size, True), lambda batch: batch)


def ours(root: Path, **settings: Any) -> Callable[[], float]:
    data = made(root, **settings)
    finish = lambda batch: data.on_after_batch_transfer(batch, 0)  # noqa: E731
    return partial(microseconds, data.train_dataloader(), finish)


def made(root: Path, **settings: Any) -> ImageFolder:
    data = ImageFolder(root=root, verify=False, **STATISTICS, **settings)
    data.setup()
    return data


def microseconds(loader: Iterable[Any], finish: Callable[[Any], Any]) -> float:
    """Process time an image, over an epoch or 10,000 images."""
    images, begun_s = 0, time.process_time()
    for batch in loader:
        images += len(finish(batch)[0])
        if images >= 10_000:
            break
    return (time.process_time() - begun_s) / images * 1e6


def loader_alone(
    root: Path, kind: str, keys: dict[str, Any], spdl: str, least_s: float
) -> dict[str, float]:
    """In a fresh process: epochs of at least so many seconds."""
    torch.set_num_threads(1)
    workers = {PROCESSES: ("processes", 2), THREADS: ("threads", 2)}.get(kind, ("processes", 0))
    data = made(root, workers=workers[0], num_workers=workers[1], **keys)
    loader: Any = data.train_dataloader()
    before, peak = pss(), 0.0
    epoch = partial(spdl_epoch, loader, spdl) if kind == SPDL else partial(iter, loader)
    for number, _ in enumerate(epoch()):
        peak = max(peak, pss()) if number % 20 == 0 else peak
    images, used_s, (begun_s, switches) = 0, cores_s(), (time.perf_counter(), waits())
    before_s = ran_and_queued_s()
    while time.perf_counter() - begun_s < least_s:
        images += sum(len(batch[0]) for batch in epoch())
    wall_s, waited = time.perf_counter() - begun_s, waits() - switches
    rate, per_image = images / wall_s, (cores_s() - used_s) / images * 1e6
    figures = {"images_per_s": rate, "us": per_image, "waits": waited / images}
    if kind == THREADS:
        ran_s, queued_s = ran_and_queued_s() - before_s
        figures["blocked"] = 1 - ran_s / (2 * wall_s - queued_s)
    return figures | {"memory_mb": (peak - before) / 1e6}


def spdl_epoch(loader: Any, folder: str) -> Iterable[Any]:
    """SPDL's pipeline, whose threads make the same batches."""
    if folder not in sys.path:
        sys.path.append(folder)
    from spdl.pipeline import PipelineBuilder

    builder = PipelineBuilder().add_source(iter(loader.batch_sampler))
    builder = builder.pipe(loader.dataset.__getitems__, concurrency=2, output_order="input")
    pipeline = builder.add_sink(4).build(num_threads=2)
    with pipeline.auto_stop():
        yield from pipeline


def tree() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def pss() -> float:
    """Bytes of this process and its workers, of which shared pages count once."""
    total = 0.0
    for process in tree():
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total


def cores_s() -> float:
    """Seconds that all cores have spent on this process and its workers."""
    return sum(sum(process.cpu_times()[:2]) for process in tree())


def ran_and_queued_s() -> np.ndarray:
    """Seconds in which the loading threads have run, and waited for a core; else they block."""
    ids = [one.native_id for one in threading.enumerate() if one.name.startswith("loader-")]
    stats = [Path(f"/proc/self/task/{number}/schedstat").read_text().split() for number in ids]
    return np.array([[int(ns) for ns in ran_queued[:2]] for ran_queued in stats]).sum(0) / 1e9


def waits() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def by_decoder(title: str, seen: dict[str, Any]) -> list[list[str]]:
    rows = [[title, "µs an image", "times plain"]]
    for name, values in seen.items():
        rows.append([name, spread(values, ",.1f"), spread(seen[PLAIN] / values, ".2f")])
    return rows


def measure(
    rounds: int = 5, root: str = "", spdl: str = "", samples: int = 20_000, least_s: float = 2.0
) -> Page:
    """Each part in turn; within it, every case in turn."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made_here:
        small, large = Path(root or f"{made_here}/small"), Path(made_here) / "large"
        twice = Path(made_here) / "twice"
        if not root:
            small_images(small, samples)
        large_images(large, max(32, samples // 80))
        large_images(twice, max(32, samples // 320), TWICE_SIDES)
        pillow = {"decoder": "pillow"}
        crops = [transforms.RandomCrop(32, padding=4)], [transforms.RandomResizedCrop(224)]
        tables, alone = [], {}
        for name, folder, keys, augment in (
            ("small", small, SMALL, crops[0]),
            ("large", large, LARGE, crops[1]),
        ):
            cases = {PLAIN: plain(folder, augment, int(keys["batch_size"]))}  # type: ignore[call-overload]
            for pipeline in ("per_sample", "batched"):
                cases[f"{pipeline}, pillow"] = ours(folder, pipeline=pipeline, **pillow, **keys)
                cases[f"{pipeline}, turbo"] = ours(folder, pipeline=pipeline, **keys)
            tables.append((name, interleaved(cases, rounds)))
            few = dict(keys) | {"train_samples": 12_800 if root and name == "small" else None}
            kinds = [
                "no workers",
                PROCESSES,
                THREADS,
                *([SPDL] if spdl and name == "small" else []),
            ]
            fits = {k: fresh(loader_alone, folder, k, few, spdl, least_s) for k in kinds}
            alone[name] = interleaved(fits, rounds, warm_up=0)
        halved = {
            PLAIN: plain(twice, crops[1], int(LARGE["batch_size"])),  # type: ignore[call-overload]
            "batched, turbo": ours(twice, **LARGE),
            "batched, turbo, decode_size=224": ours(twice, decode_size=224, **LARGE),
        }
        tables.append(("twice as large", interleaved(halved, rounds)))
    heading = ["loader alone", "images/s", "times two processes", "µs of all cores", "waits", "MB"]
    rows = [[*heading, "blocked"]]
    for name, kind, seen in ((n, k, seen) for n, of in alone.items() for k, seen in of.items()):
        ratio = seen["images_per_s"] / alone[name][PROCESSES]["images_per_s"]
        shown = [spread(seen["images_per_s"]), spread(ratio, ".2f"), spread(seen["us"], ".1f")]
        shown += [spread(seen["waits"], ".2f"), spread(seen["memory_mb"], ".0f")]
        rows.append([f"{name}, {kind}", *shown])
        rows[-1].append(spread(seen["blocked"], ".0%") if "blocked" in seen else "")
    figures = dict(tables) | {"loader alone": alone}
    return Page([*(by_decoder(name, seen) for name, seen in tables), rows], figures)


if __name__ == "__main__":
    main(measure, rounds=1, samples=400, least_s=0.2)
