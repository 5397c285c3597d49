"""Whether the fast paths train as the plain one does: losses step by step, and accuracies.

    python benchmarks/same_results.py data=image_folder data.root=IMAGES
    python benchmarks/same_results.py --quick data=synthetic

The losses are those of the first 50 steps of ResNet-18, on each path alone and on all together
(`experiment=fast`), beside the plain one: eager, float32, one operation for each parameter. How far
rounding alone drives two trainings apart is shown by the plain one with a single thread, which
adds up in another order. Apart is the largest difference from the plain path, as a part of its
loss. The accuracies are of the small network after 6 epochs of 5,000 images, seed by seed: mean
with its 95 % interval.
"""

import math
from typing import Any

import numpy as np
import torch
from accuracy import by_seed, percent
from harness import Page, auto_device, configured, contents, fresh, interleaved, main

import hpml.train
from hpml.models.image_classifier import ImageClassifier
from hpml.statistics import estimate

STEPS = 50
ONE_THREAD = "plain, one thread"
PLAIN = ["optimizer.fused=false"]
FAST = "experiment=fast"
PATHS = {
    "plain": PLAIN,
    ONE_THREAD: PLAIN,
    "fused optimizer": [],
    "channels_last": [*PLAIN, "channels_last=true"],
    "compiled": [*PLAIN, "compile=auto"],
    "data.pipeline=device": [*PLAIN, "data.pipeline=device"],
    f"{FAST}, float32": [FAST, "trainer.precision=32-true"],
    FAST: [FAST],
}
SUBSET = [
    *("model=small", "trainer.max_epochs=6", "scheduler=one_cycle", "data.train_samples=5000"),
    *("data.test_samples=2000", "data.batch_size=64"),
]


def losses(overrides: list[str], one_thread: bool) -> list[float]:
    """Of each step of a training; called in a fresh process."""
    if one_thread:
        torch.set_num_threads(1)
    seen = []
    step = ImageClassifier.training_step

    def training_step(*arguments: Any) -> torch.Tensor:
        loss = step(*arguments)
        seen.append(loss.detach())
        return loss

    ImageClassifier.training_step = training_step  # type: ignore[method-assign, assignment]
    hpml.train.train(configured(*overrides))
    return [float(loss) for loss in seen]


def job(model: str, batch_size: int, overrides: list[str]) -> list[str]:
    """What all paths have."""
    return [
        *(f"model={model}", f"data.batch_size={batch_size}", "optimizer.lr=0.01"),
        *(f"data.train_samples={STEPS * batch_size}", "data.test_samples=16"),
        *("trainer.max_epochs=1", "trainer.limit_val_batches=0", "monitor=train/loss"),
        *("trainer.enable_checkpointing=false", "callbacks=none", "logger=none", *overrides),
    ]


def measure(overrides: list[str], seeds: int = 5, quick: bool = False) -> Page:
    """The losses of each path, and the accuracies of the plain one and of all together."""
    of_all = job(*(("small", 16) if quick else ("resnet18", 32)), overrides)
    paths = {n: fresh(losses, [*path, *of_all], n == ONE_THREAD) for n, path in PATHS.items()}
    by_path = {name: np.array(of[0]) for name, of in interleaved(paths, 1, warm_up=0).items()}
    rows = [["path", "first loss", "last loss", "most apart in 10 steps", f"in {STEPS}"]]
    for name, values in by_path.items():
        apart = abs(values / by_path["plain"] - 1)
        tops = [f"{max(part):.1e}" for part in (apart[:10], apart)]
        rows.append([name, f"{values[0]:.5f}", f"{values[-1]:.5f}", *tops])
    subset = [*SUBSET, *(["data.test_samples=500", "data.train_samples=512"] if quick else [])]
    cases = {n: by_seed(seeds, [*PATHS[n], *subset, *overrides]) for n in ("plain", FAST)}
    runs = interleaved(cases, seeds, warm_up=0)
    accuracies = {name: of["accuracy"] for name, of in runs.items()}
    apart = accuracies[FAST] - accuracies["plain"]
    compared = [["path", "test accuracy"]]
    compared += [[name, percent(values)] for name, values in accuracies.items()]
    compared += [["the difference, seed by seed", percent(apart)]]
    difference = estimate(apart.tolist())
    assert difference is not None
    differ = abs(difference.mean) > (difference.half_width or math.inf)
    verdict = "The two can be told apart." if differ else "The two cannot be told apart."
    return Page(
        [rows, compared, verdict],
        {"losses": by_path, "accuracies": accuracies},
        {name: contents(configured(*path, *of_all)) for name, path in PATHS.items()},
        auto_device(),
    )


if __name__ == "__main__":
    main(measure, seeds=1)
