"""Whether the search for workers finds the answer where it is known.

    python benchmarks/workers.py [--searches 20] [--rounds 3] [--seconds 0.3]

Four loaders beside a training step that sleeps 2 ms. Two sleep, 8 ms and 32 ms a batch: as many
workers are enough as bring that below a step, whose real length, with Lightning's part and beside
workers, is measured first. One holds its batches in memory, so that no worker can win; one is
slowed by each worker, which all hold the same lock. Each count is measured as
`python -m hpml.workers` does, in fresh processes. Each count stands with how often it was the
answer.
"""

import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import Page, Plain, bare_trainer, be_quiet, fresh, interleaved, main
from torch.utils.data import DataLoader, Dataset

from hpml.trials.subject import Subject
from hpml.worker_counts.measure import measure_subject
from hpml.worker_counts.search import LEAST_GAIN, Measured, counts_to_try, search

BATCHES, STEP_S = 200, 0.002
IN_MEMORY, LOCKED = "in memory", "slower with workers"
LOAD_S = {"sleeps 8 ms": 0.008, "sleeps 32 ms": 0.032, IN_MEMORY: 0.0}
CORES = 4
# whatever this machine has: nothing here computes
COUNTS = tuple(counts_to_try(CORES, step=4, most=8))
# Counts that are slower by so much than the fastest are no right answer; others may be.
TOLD_APART = 0.1


class Batches(Dataset[Any]):
    """Batches that take their time to load."""

    def __init__(self, load: Callable[[], None]) -> None:
        self.load = load

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> Any:
        self.load()
        return torch.zeros(1, 4), torch.zeros(1, dtype=torch.long)


def in_turn(lock: Any, workers: int) -> None:
    """One worker at a time, each of which makes the others' turns longer."""
    with lock:
        time.sleep(0.003 * (1 + 2 * workers))


class Sleeping(Plain):
    """A step of STEP_S that needs no core."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        time.sleep(STEP_S)
        return super().training_step(batch, batch_idx)


def measured(loader: str, seconds: float, workers: int) -> Measured:
    """One measurement of a kind of loader; called in a fresh process."""
    be_quiet()
    load = partial(time.sleep, LOAD_S.get(loader, 0.0))
    if loader == LOCKED:
        load = partial(in_turn, multiprocessing.Lock(), workers)
    batches = DataLoader(
        Batches(load), batch_size=None, num_workers=workers, persistent_workers=workers > 0
    )
    module = Sleeping(torch.nn.Linear(4, 1), partial(torch.optim.SGD, lr=0.0))
    return measure_subject(Subject(bare_trainer(max_epochs=1), module, batches), seconds)


def searched(loader: str, rounds: int, seconds: float) -> dict[str, float]:
    """The answers of one search, by the training end to end and by loading alone."""
    measure = fresh(measured, loader, seconds)
    answer = search(measure, iter(COUNTS), rounds, lambda line: None)
    return {"recommended": answer.recommended, "by_loading": answer.best_loading}


def enough(load_s: float, step_s: float) -> set[int]:
    """The fewest workers that load a batch in a step, in little more, or in a tenth more."""
    epochs = {count: max(load_s / count, step_s) for count in COUNTS if count}
    return {
        min(count for count, s in epochs.items() if s <= (1 + more) * min(epochs.values()))
        for more in (LEAST_GAIN, TOLD_APART)
    }


def measure(searches: int = 20, rounds: int = 3, seconds: float = 0.3) -> Page:
    """Searches many times, and counts how often the answer was right."""
    alone = fresh(measured, IN_MEMORY, seconds, CORES)
    step_s = statistics.median(alone().epoch_s / BATCHES for _ in range(5))
    right_of = {name: enough(s, step_s) if s else {0} for name, s in LOAD_S.items()} | {LOCKED: {0}}
    cases = {loader: partial(searched, loader, rounds, seconds) for loader in right_of}
    seen = interleaved(cases, searches, warm_up=0)
    rows = [["loader", "right", "recommended", "right in", "by loading alone"]]
    figures: dict[str, Any] = {}
    for loader, right in right_of.items():
        answers = {key: Counter(values.tolist()) for key, values in seen[loader].items()}
        hits = f"{sum(answers['recommended'][count] for count in right)} of {searches}"
        recommended, by_loading = map(in_words, answers.values())
        rows.append([loader, " or ".join(map(str, sorted(right))), recommended, hits, by_loading])
        figures[loader] = answers | {"right": sorted(right)}
    about = f"A training step takes {1000 * step_s:.2f} ms, with {CORES} workers that load nothing."
    return Page([about, rows], figures)


def in_words(counts: Counter[int]) -> str:
    """`4 (19×), 8 (1×)`."""
    return ", ".join(f"{count} ({times}×)" for count, times in counts.most_common())


if __name__ == "__main__":
    main(measure, searches=1, rounds=1, seconds=0.02)
