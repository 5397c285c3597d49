"""Whether the fast paths train as the plain one does: losses step by step, and accuracies.

    python benchmarks/same_results.py data=image_folder data.root=IMAGES
    python benchmarks/same_results.py --quick data=synthetic

The losses are those of the first 50 steps of ResNet-18, on each path alone and on all together
(`experiment=fast`), beside the plain one: eager, float32, one operation for each parameter. How far
rounding alone drives two trainings apart is shown by the plain one with a single thread, which
adds up in another order. The accuracies are of the small network on a subset, seed by seed.
"""

import argparse
from typing import Any

import torch
from accuracy import percent, trained
from harness import auto_device, configured, contents, keep_nothing, table, write
from omegaconf import DictConfig

import hpml.train
from hpml.statistics import estimate
from hpml.system import fresh_process
from hpml.training.build import build_module

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
    """Of each step of a training."""
    if one_thread:
        torch.set_num_threads(1)
    seen = []

    def watched(cfg: DictConfig, data: Any) -> Any:
        module = build_module(cfg, data)
        step = module.training_step

        def training_step(*arguments: Any) -> Any:
            loss = step(*arguments)
            seen.append(loss.detach())  # type: ignore[union-attr]
            return loss

        module.training_step = training_step  # type: ignore[method-assign]
        return module

    hpml.train.build_module = watched
    hpml.train.train(configured(*overrides))
    return [float(loss) for loss in seen]


def job(model: str, batch_size: int, given: list[str]) -> list[str]:
    """The overrides that all paths have."""
    return [
        *(f"model={model}", f"data.batch_size={batch_size}", "optimizer.lr=0.01"),
        *(f"data.train_samples={STEPS * batch_size}", "data.test_samples=16"),
        *("trainer.max_epochs=1", "trainer.limit_val_batches=0", "monitor=train/loss"),
        *("trainer.enable_checkpointing=false", "callbacks=none", "logger=none", *given),
    ]


def step_by_step(of_all: list[str]) -> dict[str, list[float]]:
    """The losses of each path."""
    found = {}
    for name, path in PATHS.items():
        found[name] = fresh_process.run_in_fresh_process(
            losses, [*path, *of_all], name == ONE_THREAD
        )
        print(f"{name}: {found[name][0]:.6f} … {found[name][-1]:.6f}", flush=True)
    return found


def main() -> None:
    """Trains, prints, and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small network; keep no result")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_intermixed_args()
    if given.quick:
        keep_nothing()
    size = ("small", 16) if given.quick else ("resnet18", 32)
    of_all = job(*size, given.overrides)
    by_path = step_by_step(of_all)
    rows = [["path", "first loss", "last loss", "most apart in 10 steps", f"in {STEPS}"]]
    for name, ones in by_path.items():
        apart = [
            abs(one - plain) / plain for one, plain in zip(ones, by_path["plain"], strict=True)
        ]
        tops = [f"{max(part):.1e}" for part in (apart[:10], apart)]
        rows.append([name, f"{ones[0]:.5f}", f"{ones[-1]:.5f}", *tops])

    subset = [*SUBSET, "data.test_samples=500", "data.train_samples=512"] if given.quick else SUBSET
    accuracies: dict[str, list[float]] = {"plain": [], FAST: []}
    for seed in range(1 if given.quick else given.seeds):
        for name, path in (("plain", PLAIN), (FAST, [FAST])):
            run = fresh_process.run_in_fresh_process(
                trained, [*path, f"seed={seed}", *subset, *given.overrides]
            )
            accuracies[name].append(run["accuracy"])
            print(f"{name}, seed {seed}: {run['accuracy']:.2%}", flush=True)
    apart = [a - b for a, b in zip(accuracies[FAST], accuracies["plain"], strict=True)]
    compared = [["path", "test accuracy"]]
    compared += [[name, percent(values)] for name, values in accuracies.items()]
    compared += [["the difference, seed by seed", percent(apart)]]
    found = estimate(apart)
    assert found is not None
    if found.half_width is not None:
        differ = abs(found.mean) > found.half_width
        verdict = "The two can be told apart." if differ else "The two cannot be told apart."
    else:
        verdict = "One seed tells nothing about a difference."
    told = (
        f"Above: the losses of the first {STEPS} steps, once; apart is the largest difference from "
        "the plain path, as a part of its loss. Below: the accuracy after 6 epochs of 5,000 "
        f"images, {len(apart)} seeds, mean with its 95 % interval ({', '.join(subset)}). "
        f"Data: {', '.join(o for o in given.overrides if not o.startswith('data.root='))}."
    )
    configuration = {name: contents(configured(*path, *of_all)) for name, path in PATHS.items()}
    figures = {"losses": by_path, "accuracies": accuracies}
    more = "\n".join([*table(compared), "", verdict])
    write(
        "same_results",
        "The fast paths' results",
        told,
        rows,
        figures,
        configuration,
        more,
        auto_device(),
    )


if __name__ == "__main__":
    main()
