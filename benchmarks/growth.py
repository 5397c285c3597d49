"""How time and memory grow: with batch size, data set, image size, workers and sweep size.

    python benchmarks/growth.py [--device cpu|gpu] [--model small] [--quick]

Each point of the five curves is a run of `hpml.train.train`, or a sweep, in a fresh process, so
that its peak memory is its own. Runs train on generated images without checkpoints, loggers and
progress bar. On two cores it takes about a quarter of an hour; `--quick` takes few points, once,
and a minute.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import named, write

from hpml.errors import RunFailedError, UserError
from hpml.system import fresh_process

ROUNDS, SWEEP_ROUNDS = 2, 1
BATCH_SIZE = 128
BATCHES = 8  # of an epoch where its length does not matter
# Of the epochs on a CPU, and on a GPU: a second or so each.
EPOCH_SAMPLES = {"cpu": 4096, "gpu": 32_768}
PNG_DPI = 150
# The smallest job: what is left is what each job takes to start.
TINY = [
    *("data=synthetic", "model=small", "model.width=1", "device=cpu", "data.batch_size=8"),
    *("data.image_size=8", "data.train_samples=8", "data.test_samples=8", "callbacks=none"),
    *("logger=none", "trainer.max_epochs=1", "trainer.enable_checkpointing=false"),
    *("trainer.limit_val_batches=0", "monitor=train/loss"),
]

# The overrides of each point, by its curve and by what varies.
Points = dict[str, dict[int, list[str]]]


def runs(device: str, model: str, quick: bool) -> Points:
    """All that is measured by training."""
    base = [
        *("data=synthetic", f"device={device}", f"model={model}", "data.test_samples=64"),
        *("callbacks=none", "logger=none", "trainer.enable_checkpointing=false"),
        *("trainer.limit_val_batches=0", "monitor=train/accuracy", "trainer.max_epochs=2"),
        "+callbacks.memory._target_=growth_points.WorkerMemory",
    ]
    samples = EPOCH_SAMPLES[device]
    few = [*base, f"data.batch_size={BATCH_SIZE}", f"trainer.limit_train_batches={BATCHES}"]
    # whole epochs: batches that workers load beyond a bound would be loaded in the next one's time
    loading = [
        *(*base, f"data.batch_size={BATCH_SIZE}", f"data.train_samples={samples // 2}"),
        # and a validation, whose loader has workers of its own
        *("data.encoded=jpeg", "trainer.limit_val_batches=1", "trainer.max_epochs=3"),
        *(["model.width=4"] if model == "small" else []),
    ]

    def pipeline(name: str) -> dict[int, list[str]]:
        counts = (0, 2) if quick else (0, 1, 2, 4, 8)
        own = [*loading, f"data.pipeline={name}"]
        return {count: [*own, f"data.num_workers={count}"] for count in counts}

    sizes = (32, 256, 1024) if quick else tuple(2**power for power in range(5, 13))
    sets = (5000, 20_000) if quick else (5000, 10_000, 20_000, 50_000, 100_000, 200_000)
    return {
        "batch": {
            size: [*base, f"data.batch_size={size}", f"data.train_samples={samples}"]
            for size in sizes
        },
        "set": {size: [*few, f"data.train_samples={size}"] for size in sets},
        "image": {
            size: [*few, f"data.image_size={size}", f"data.train_samples={BATCHES * BATCH_SIZE}"]
            for size in ((8, 32) if quick else (8, 16, 24, 32, 48, 64))
        },
        "per_sample": pipeline("per_sample"),
        "batched": pipeline("batched"),
    }


def sweeps(quick: bool) -> Points:
    """One run alone, sweeps of such runs, and sweeps that only compose theirs."""
    jobs = (1, 2) if quick else (1, 4, 16)
    composed = (1, 8) if quick else (1, 16, 64, 256)
    return {
        "alone": {1: TINY},
        "sweep": {count: ["-m", *TINY, f"seed=range({count})"] for count in jobs},
        "dry": {
            count: ["-m", *TINY, f"seed=range({count})", "sweep.dry_run=true"] for count in composed
        },
    }


def measure(
    points: Points,
    call: Callable[[list[str]], dict[str, float]],
    rounds: int,
    failed: dict[str, str],
) -> dict[str, Any]:
    """The figures of all points, round by round: `seen[curve][x][figure]` is a list of them."""
    seen: dict[str, Any] = {curve: defaultdict(lambda: defaultdict(list)) for curve in points}
    for number in range(rounds):
        for curve, x in [(curve, x) for curve, xs in points.items() for x in xs]:
            started = time.perf_counter()
            try:
                figures = call(points[curve][x])
            except (UserError, RunFailedError) as error:  # too much for the memory, say
                failed[f"{curve} {x}"] = str(error).splitlines()[-1]
                continue
            for name, value in figures.items():
                seen[curve][x][name].append(value)
            took = time.perf_counter() - started
            shown = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
            print(f"round {number + 1}/{rounds} {curve} {x}: {took:.1f} s; {shown}", flush=True)
    return seen


def main() -> None:
    """Measures all curves in turn, and writes the page, its picture and the figures."""
    # here: a point's process imports this file, too, and all of it would be in its memory
    from growth_page import sentences, tables
    from growth_picture import draw
    from growth_points import program, training

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--model", default="small")
    parser.add_argument("--quick", action="store_true", help="few points, once")
    given = parser.parse_args()
    theme = "growth_quick" if given.quick else "growth"  # which must not replace the whole one
    rounds = 1 if given.quick else ROUNDS
    trained, swept = runs(given.device, given.model, given.quick), sweeps(given.quick)
    failed: dict[str, str] = {}
    seen = measure(trained, partial(fresh_process.run_in_fresh_process, training), rounds, failed)
    seen |= measure(swept, program, SWEEP_ROUNDS, failed)
    memory = "device_mib" if given.device == "gpu" else "host_mib"
    picture = named(theme, given.device).with_suffix(".png")
    picture.parent.mkdir(exist_ok=True)
    draw(seen, memory).savefig(picture, dpi=PNG_DPI)
    rows, others = tables(seen, memory)
    told = (
        f"model={given.model}, device={given.device}, generated images, batches of {BATCH_SIZE} "
        f"where they do not vary. Each point is a run in a fresh process; {rounds} interleaved "
        f"rounds, the sweeps {SWEEP_ROUNDS}; medians, with the lowest and the highest where there "
        "are several. Samples/s and a step's time are of the epochs after the first, from the end "
        "of one to the end of the next: shuffling, loading, transfer, training and Lightning's "
        "loop; no validation, and nothing is saved or logged. Start-up is what is before the first "
        "batch, without imports: making the data set, most of all. Waiting is the part of the time "
        "in which a step waits for its batch. Memory is the peak of the process with its imports, "
        "and what its workers hold beside it. The runs over workers decode JPEG images and have a "
        "validation of one batch, for the workers of its loader; its time is left out. A sweep's "
        "time is that of the whole program."
    )
    if memory == "device_mib":
        told += " With batch size and image size it is what torch has allocated on the GPU."
    told += "\n\n" + "\n".join(f"- {sentence}" for sentence in sentences(seen, memory))
    told += "".join(f"\n- {point} failed: {error}" for point, error in failed.items())
    more = [f"![Time and memory over what grows]({picture.name})", *others]
    configuration = {
        curve: list(points.values())[-1] for curve, points in (trained | swept).items()
    }
    write(
        theme,
        "How time and memory grow",
        told,
        rows,
        seen,
        configuration,
        "\n\n".join(more),
        given.device,
    )


if __name__ == "__main__":
    main()
