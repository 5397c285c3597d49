"""Whether the search for workers finds the answer where it is known.

    python benchmarks/workers.py [--searches 20] [--rounds 3] [--seconds 0.3]

Four loaders beside a training step that sleeps 2 ms. Two sleep, 8 ms and 32 ms a batch: as many
workers are enough as bring that below a step, whose real length, with Lightning's part and beside
workers, is measured first. One holds its batches in memory, so that no worker can win; one is
slowed by each worker, which all hold the same lock. Each count is measured as
`python -m hpml.workers` does, in fresh processes.
"""

import argparse
import logging
import multiprocessing
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import torch
from harness import write
from torch.utils.data import DataLoader, Dataset

from hpml.system import fresh_process
from hpml.trials.subject import Subject
from hpml.workers.measure import measure_subject
from hpml.workers.search import LEAST_GAIN, Measured, counts_to_try, search

BATCHES, STEP_S = 200, 0.002
LOAD_S = {"sleeps 8 ms": 0.008, "sleeps 32 ms": 0.032}
CORES, STEP, MOST = 4, 4, 8  # 0, 1, 2, 3, 4, 8, whatever this machine has: nothing here computes
# Counts that are slower by so much than the fastest are no right answer; others may be.
TOLD_APART = 0.1


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
        time.sleep(0.003 * (1 + 2 * workers))


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
    warnings.filterwarnings("ignore")
    loads: dict[str, Callable[[], None]] = {
        **{name: partial(time.sleep, load_s) for name, load_s in LOAD_S.items()},
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


def enough(load_s: float, step_s: float) -> set[int]:
    """The fewest workers that load a batch in a step, in little more, or in a tenth more."""
    counts = [count for count in counts_to_try(CORES, STEP, MOST) if count]
    epochs = {count: max(load_s / count, step_s) for count in counts}
    return {
        min(count for count, s in epochs.items() if s <= (1 + more) * min(epochs.values()))
        for more in (LEAST_GAIN, TOLD_APART)
    }


def main() -> None:
    """Searches many times, and writes how often the answer was right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    given = parser.parse_args()
    step_s = statistics.median(
        fresh_process.run_in_fresh_process(known, "in memory", given.seconds, CORES).epoch_s
        / BATCHES
        for _ in range(5)
    )
    right_of = {name: enough(load_s, step_s) for name, load_s in LOAD_S.items()}
    right_of |= {"in memory": {0}, "slower with workers": {0}}
    print(f"a step takes {1000 * step_s:.2f} ms", flush=True)
    rows = [["loader", "right", "recommended", "right in", "by loading alone"]]
    figures = {}
    for kind, right in right_of.items():
        recommended: Counter[int] = Counter()
        by_loading: Counter[int] = Counter()
        for number in range(given.searches):
            measure = partial(fresh_process.run_in_fresh_process, known, kind, given.seconds)
            found = search(
                measure, counts_to_try(CORES, STEP, MOST), given.rounds, lambda line: None
            )
            recommended[found.recommended] += 1
            by_loading[found.best_loading] += 1
            print(f"{kind} {number + 1}: {found.as_dict()['tied']}", flush=True)
        rows.append(
            [
                kind,
                " or ".join(map(str, sorted(right))),
                _told(recommended),
                f"{sum(recommended[count] for count in right)} of {given.searches}",
                _told(by_loading),
            ]
        )
        figures[kind] = {
            "recommended": recommended,
            "by_loading": by_loading,
            "right": sorted(right),
        }
    told = (
        f"{given.searches} searches of each loader, {given.rounds} rounds of {given.seconds:g} s; "
        f"a training step that sleeps {1000 * STEP_S:g} ms and takes {1000 * step_s:.2f} ms in "
        f"all, measured with {CORES} workers and nothing to load. Each count with how often it was "
        "the answer."
    )
    write("workers", "Known answers of the search for workers", told, rows, figures)


def _told(counts: Counter[int]) -> str:
    return ", ".join(f"{count} ({times}×)" for count, times in counts.most_common())


if __name__ == "__main__":
    main()
