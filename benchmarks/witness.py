"""What it costs to see what other programs took from an epoch or a trial.

    python benchmarks/witness.py

In a fresh process with so many threads, which sleep, and so many workers of a loader, which have
nothing to load: the reading at the border of two epochs, with what the record takes of it; the two
readings around a trial; a look at the workers, of which a training has one a second. Milliseconds,
median (lowest to highest) over the rounds; a round has the median of 30, and before each of them
other data is read, since an epoch leaves nothing of the last reading in the caches. Cases take
turns, after a round that warms up. Without a GPU in use, whose driver would be asked besides.
"""

import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from harness import Page, fresh, interleaved, main, spread
from torch.utils.data import DataLoader, TensorDataset

from hpml.system.between_readings import between
from hpml.system.gpus import GpuWitness
from hpml.system.kernel_readings import Witness
from hpml.system.suspensions import Suspensions
from hpml.trials.interference_watch import watched

PARTS = {"epoch": "an epoch, ms", "trial": "a trial, ms", "look": "a look, ms"}
CASES = [(2, 0), (64, 0), (200, 0), (2, 2), (2, 8), (64, 8)]  # threads, workers
TIMES = 30
CACHED = 2**24  # numbers of four bytes each


def costs(threads: int, workers: int) -> dict[str, float]:
    """Milliseconds of each of PARTS; called in a fresh process."""
    with Suspensions() as stops:
        for _ in range(threads - threading.active_count()):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        loader = DataLoader(TensorDataset(torch.zeros(1000)), num_workers=workers)
        batches = iter(loader)
        next(batches)
        witness, other = Witness(stops=stops, gpus=GpuWitness.of([])), torch.zeros(CACHED)
        watch = watched(witness, lambda nothing: 0.0)
        first = witness.read()

        def took_ms(do: Callable[[], Any]) -> float:
            other.sum()
            begun_s = time.perf_counter()
            do()
            return 1e3 * (time.perf_counter() - begun_s)

        does: dict[str, Callable[[], Any]] = {
            "epoch": lambda: between(first, witness.read(), 0.0).as_dict(),
            "trial": lambda: watch(lambda: None),
            "look": witness.look_at_workers,
        }
        return {part: median(took_ms(does[part]) for _ in range(TIMES)) for part in PARTS}


def measure(rounds: int = 5) -> Page:
    """All of CASES, in turn."""
    cases = {
        f"{threads} threads, {workers} workers": (threads, workers) for threads, workers in CASES
    }
    seen = interleaved({name: fresh(costs, *case) for name, case in cases.items()}, rounds)
    rows = [["threads", "workers", *PARTS.values()]]
    for name, case in cases.items():
        rows.append([*map(str, case), *(spread(seen[name][part], ".2f") for part in PARTS)])
    return Page([rows], seen)


if __name__ == "__main__":
    main(measure, rounds=1)
