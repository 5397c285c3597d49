"""How accurate ResNet-18 becomes on CIFAR-10's test images, and how long that takes.

    python benchmarks/accuracy.py data=cifar10
    python benchmarks/accuracy.py data=image_folder data.root=IMAGES data.in_memory=true
    python benchmarks/accuracy.py --quick data=synthetic

Trains `experiment=cifar26` and `cifar80` with each seed, in turn, each in a fresh process. Others
have published of an unaltered ResNet-18: 94.0 % in 26 epochs, 95.9 % in 80, both with test-time
augmentation. The time is that of the epochs without validation: from the first batch's fetch to the
end of the last epoch; median (lowest to highest). Start-up is apart: compiling, reading the data
and all else from the call of `fit` to the first epoch. The accuracy is that of the last epoch on
the whole test set, nothing is chosen by it; mean over the seeds with its 95 % interval; with mirror
images by the mean of an image's logits and its mirror image's. Overrides go to all trainings.
"""

from collections.abc import Callable
from typing import Any

from harness import Page, auto_device, configured, contents, fresh, interleaved, main, spread

import hpml.train
from hpml.statistics import estimate

WATCHED = ("logger=none", "callbacks.forecast=null")
QUICK = ["model=small", "trainer.max_epochs=3", "data.train_samples=1536", "compile=false"]
EXPERIMENTS = ["cifar26", "cifar80"]


def trained(overrides: list[str]) -> dict[str, Any]:
    """Accuracy and seconds of one training."""
    record = hpml.train.train(configured(*overrides, *WATCHED))
    validation_s = sum(epoch.time["validation_s"] or 0.0 for epoch in record.epochs)
    train_s = sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs) - validation_s
    return {
        "accuracy": record.last_metric("val/accuracy"),
        "tta_accuracy": record.last_metric("val/tta_accuracy"),
        "train_s": train_s,
        "samples_per_s": sum(epoch.samples or 0 for epoch in record.epochs) / train_s,
        "validation_s": validation_s,
        "compile_s": record.compile_s or 0.0,
        "startup_s": record.startup_s,
        "device": (record.environment["accelerators"] or [record.environment["cpu"]])[0],
        "chosen": record.chosen,
    }


def by_seed(seeds: int, overrides: list[str]) -> Callable[[], Any]:
    """A case that trains with the next seed each time."""
    trainings = iter([fresh(trained, [f"seed={seed}", *overrides]) for seed in range(seeds)])
    return lambda: next(trainings)()


def percent(fractions: Any) -> str:
    """Their mean, with its interval where there are several."""
    known = estimate([100 * fraction for fraction in fractions])
    assert known is not None
    interval = "" if known.half_width is None else f" ± {known.half_width:.2f}"
    return f"{known.mean:.2f}{interval} %"


def measure(
    overrides: list[str], experiments: list[str] = EXPERIMENTS, seeds: int = 5, quick: bool = False
) -> Page:
    """Trains with each seed in turn."""
    more = [*overrides, *(QUICK if quick else [])]
    cases = {name: by_seed(seeds, [f"experiment={name}", *more]) for name in experiments}
    seen = interleaved(cases, seeds, warm_up=0)
    rows = [["experiment", "epochs", "test accuracy", "with mirror images"]]
    rows[0] += ["training s", "compiling s", "start-up s"]
    configurations = {}
    for name, of in seen.items():
        cfg = configured(f"experiment={name}", *more, *WATCHED)
        configurations[name] = contents(cfg)
        times = [spread(of["train_s"], ".2f")]
        times += [spread(of[key], ".1f") for key in ("compile_s", "startup_s")]
        accuracies = [percent(of[key]) for key in ("accuracy", "tta_accuracy")]
        rows.append([name, str(cfg.trainer.max_epochs), *accuracies, *times])
    return Page([rows], seen, configurations, auto_device())


if __name__ == "__main__":
    main(measure, seeds=2)
