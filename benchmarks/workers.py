"""Whether the search for workers finds the answer where it is known.

    python benchmarks/workers.py [--searches 20] [--rounds 3] [--seconds 0.3]

Three loaders beside a training step that sleeps. One sleeps 8 ms a batch, so that a step of 2 ms
never waits once four workers load; one holds its batches in memory, so that no worker can win; one
is slowed by each worker, which all hold the same lock. Each count is measured as
`python -m hpml.workers` does, in fresh processes.
"""

import argparse
import itertools
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import torch
from harness import write
from torch.utils.data import DataLoader, Dataset

from hpml import isolated
from hpml.diagnosis.subject import Subject
from hpml.worker_search import Measured, counts_to_try, search
from hpml.workers import measure_subject

BATCHES, STEP_S = 200, 0.002
STEP = 4


class Batches(Dataset[torch.Tensor]):
    """Batches that take `load` to load."""

    def __init__(self, load: Callable[[], None]) -> None:
        self.load = load

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> torch.Tensor:
        self.load()
        return torch.zeros(4)


def in_turn(lock: Any, workers: int) -> None:
    """One worker at a time, each of which makes the others' turns longer."""
    with lock:
        time.sleep(0.003 * (1 + workers))


class Sleeping(L.LightningModule):
    """A step of STEP_S that needs no core."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Sleeps, and gives a loss."""
        time.sleep(STEP_S)
        loss: torch.Tensor = self.layer(batch).mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


def known(kind: str, seconds: float, workers: int) -> Measured:
    """One measurement of a loader of some kind; called in a fresh process."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    loads: dict[str, Callable[[], None]] = {
        "sleeps 8 ms": partial(time.sleep, 0.008),
        "in memory": partial(time.sleep, 0),
        "slower with workers": partial(in_turn, multiprocessing.Lock(), workers),
    }
    loader = DataLoader(
        Batches(loads[kind]),
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    return measure_subject(Subject(trainer, Sleeping(), loader), seconds)


# What is right: end to end. A step of 2 ms beside 8 ms of loading is busy with four workers.
RIGHT = {"sleeps 8 ms": (4, 5), "in memory": (0,), "slower with workers": (0, 1)}


def main() -> None:
    """Searches many times, and writes how often the answer was right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    given = parser.parse_args()
    rows = [["loader", "right", "recommended", "right in", "by loading alone"]]
    figures = {}
    for kind, right in RIGHT.items():
        recommended: Counter[int] = Counter()
        by_loading: Counter[int] = Counter()
        for number in range(given.searches):
            counts = itertools.chain((0, 1, 2), (n for n in counts_to_try(2, STEP) if n > 2))
            measure = partial(isolated.call, known, kind, given.seconds)
            found = search(measure, counts, given.rounds, lambda line: None)
            recommended[found.recommended] += 1
            by_loading[found.best_loading] += 1
            print(f"{kind} {number + 1}: {found.as_dict()['tied']}", flush=True)
        times = sum(recommended[count] for count in right)
        rows.append(
            [
                kind,
                " or ".join(map(str, right)),
                _told(recommended),
                f"{times} of {given.searches}",
                _told(by_loading),
            ]
        )
        figures[kind] = {"recommended": recommended, "by_loading": by_loading, "right": right}
    told = (
        f"{given.searches} searches of each loader, {given.rounds} rounds of {given.seconds:g} s; "
        f"a training step of {1000 * STEP_S:g} ms. Each count with how often it was the answer."
    )
    write("workers", "Known answers of the search for workers", told, rows, figures)


def _told(counts: Counter[int]) -> str:
    return ", ".join(f"{count} ({times}×)" for count, times in counts.most_common())


if __name__ == "__main__":
    main()
