"""How long ResNet-18 trains to an accuracy on CIFAR-10's test images.

    python benchmarks/accuracy.py data=cifar10
    python benchmarks/accuracy.py data=image_folder data.root=IMAGES data.in_memory=true
    python benchmarks/accuracy.py --quick data=synthetic      # whether it runs

Trains `experiment=cifar94` and `cifar96` with each seed, in turn, each in a fresh process. The time
is that of the epochs without validation: from the first batch's fetch to the end of the last epoch.
Apart are compiling, reading the data and all else before the first epoch. The accuracy is that of
the last epoch on the whole test set; nothing is chosen by it. Overrides go to all trainings.
"""

import argparse
from typing import Any

from harness import auto_device, configured, contents, keep_nothing, spread, write

import hpml.train
from hpml.config.choices import name_of
from hpml.statistics import estimate
from hpml.system import fresh_process

WATCHED = ("logger=none", "callbacks.forecast=null")
QUICK = ["model=small", "trainer.max_epochs=3", "data.train_samples=1536", "compile=false"]
AIMS = {"cifar94": (0.94, 10.0), "cifar96": (0.96, 60.0)}  # accuracy, seconds on one H100


def trained(overrides: list[str]) -> dict[str, Any]:
    """Accuracy and seconds of one training."""
    record = hpml.train.train(configured(*overrides, *WATCHED))
    times = [epoch.time for epoch in record.epochs]
    train_s = sum((time["epoch_s"] or 0.0) - (time["validation_s"] or 0.0) for time in times)
    samples = sum(epoch.samples for epoch in record.epochs)
    return {
        "accuracy": record.last_metric("val/accuracy"),
        "train_s": train_s,
        "samples_per_s": samples / train_s,
        "validation_s": sum(time["validation_s"] or 0.0 for time in times),
        "compile_s": record.compile_s or 0.0,
        "startup_s": record.startup_s,
        "device": (record.environment["accelerators"] or [record.environment["cpu"]])[0],
        "chosen": record.chosen,
    }


def percent(fractions: list[float]) -> str:
    """Their mean, with its interval where there are several."""
    found = estimate([100 * fraction for fraction in fractions])
    assert found is not None
    interval = "" if found.half_width is None else f" ± {found.half_width:.2f}"
    return f"{found.mean:.2f}{interval} %"


def main() -> None:
    """Trains, prints, and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experiments", nargs="+", default=list(AIMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="two seeds, small network; keep nothing"
    )
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_intermixed_args()
    if given.quick:
        keep_nothing()
        given.overrides += QUICK
        given.seeds = 2
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in given.experiments}

    for seed in range(given.seeds):
        for name in given.experiments:
            overrides = [f"experiment={name}", f"seed={seed}", *given.overrides]
            run = fresh_process.run_in_fresh_process(trained, overrides)
            print(
                f"{name}, seed {seed}: {run['accuracy']:.2%} in {run['train_s']:.2f} s", flush=True
            )
            found[name].append(run)
    rows = [["experiment", "epochs", "test accuracy", "training s", "compiling s", "start-up s"]]
    configuration = {}
    for name, runs in found.items():
        cfg = configured(f"experiment={name}", *given.overrides, *WATCHED)
        configuration[name] = contents(cfg)
        rows.append(
            [
                name,
                str(cfg.trainer.max_epochs),
                percent([run["accuracy"] for run in runs]),
                spread([run["train_s"] for run in runs], ".2f"),
                spread([run["compile_s"] for run in runs], ".1f"),
                spread([run["startup_s"] for run in runs], ".1f"),
            ]
        )
    cfg = configured(f"experiment={given.experiments[0]}", *given.overrides)
    typed = [override for override in given.overrides if not override.startswith("data.root=")]
    told = (
        f"{given.seeds} seeds, in turn, each in a fresh process, on "
        f"{name_of(cfg.data)} ({', '.join(typed) or 'as configured'}); accuracy: mean "
        "over the seeds with its 95 % interval, of the last epoch on the whole test set; seconds: "
        "median (lowest to highest). Training is the epochs without their validation; start-up "
        "holds compiling and all else from the call of `fit` to the first epoch."
    )
    aims = [f"{n}: {a:.0%} in {s:g} s on one H100" for n, (a, s) in AIMS.items() if n in found]
    more = f"Aims: {'; '.join(aims)}." if aims else ""
    write("accuracy", "Time to accuracy", told, rows, found, configuration, more, auto_device())


if __name__ == "__main__":
    main()
