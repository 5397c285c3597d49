"""Whether the search for workers finds the answer where it is known.

    python benchmarks/workers.py [--searches 20] [--rounds 10] [--seconds 0.3] [--budget-s 60]

Four loaders beside a training step that sleeps 2 ms. Two sleep, 8 ms and 32 ms a batch: as many
workers are enough as bring that below a step, whose real length, with Lightning's part and beside
workers, is measured first. One holds its batches in memory, so that no worker can win; one is
slowed by each worker, which all hold the same lock. Each search is one as `hpml.workers` does it,
in a fresh process. Each count stands with how often it was the answer; `took` is a search's time.
"""

import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import Page, Plain, bare_trainer, be_quiet, fresh, interleaved, main, spread
from torch.utils.data import DataLoader, Dataset, get_worker_info

from hpml.trials.rounds import LEAST_GAIN
from hpml.trials.subject import Subject
from hpml.tuning.change import NONE, Changes
from hpml.tuning.changes.any_trainer import loader_workers
from hpml.tuning.trials_with_changes import Foreign
from hpml.worker_counts.answer import recommended
from hpml.worker_counts.counts_to_try import counts_to_try
from hpml.worker_counts.measure import CountTrials
from hpml.worker_counts.search_result import EPOCH

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


def in_turn(lock: Any) -> None:
    """One worker at a time, each of which makes the others' turns longer."""
    info = get_worker_info()
    workers = info.num_workers if info else 0
    with lock:
        time.sleep(0.003 * (1 + 2 * workers))


class Sleeping(Plain):
    """A step of STEP_S that needs no core."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        time.sleep(STEP_S)
        return super().training_step(batch, batch_idx)


def trials_of(loader: str, seconds: float) -> CountTrials:
    """Of a kind of loader."""
    be_quiet()
    load = partial(time.sleep, LOAD_S.get(loader, 0.0))
    if loader == LOCKED:
        load = partial(in_turn, multiprocessing.Lock())
    batches: Any = DataLoader(Batches(load), batch_size=None)
    module = Sleeping(torch.nn.Linear(4, 1), partial(torch.optim.SGD, lr=0.0))
    subject = Subject(bare_trainer(max_epochs=1), module, batches)

    def of_count(count: int) -> Changes:
        return frozenset({loader_workers(count, batches)}) if count else NONE

    return CountTrials(subject, Foreign(subject), of_count, seconds)


def step_beside_workers(seconds: float) -> float:
    """Seconds of a step beside workers that load nothing."""
    trial = trials_of(IN_MEMORY, seconds)(EPOCH, CORES)
    return statistics.median(trial(number).epoch_s / BATCHES for number in range(5))


def searched(loader: str, rounds: int, seconds: float, budget_s: float) -> dict[str, float]:
    """The answers of one search, by the training end to end and by loading alone."""
    begun = time.perf_counter()
    found = trials_of(loader, seconds).search(rounds, budget_s, lambda line: None).run(iter(COUNTS))
    took_s = time.perf_counter() - begun
    best = recommended(found, now=0)
    return {"recommended": best, "by_loading": found.best_loading, "took_s": took_s}


def enough(load_s: float, step_s: float) -> set[int]:
    """The fewest workers that load a batch in a step, in little more, or in a tenth more."""
    epochs = {count: max(load_s / count, step_s) for count in COUNTS if count}
    return {
        min(count for count, s in epochs.items() if s <= (1 + more) * min(epochs.values()))
        for more in (LEAST_GAIN, TOLD_APART)
    }


def measure(
    searches: int = 20, rounds: int = 10, seconds: float = 0.3, budget_s: float = 60.0
) -> Page:
    """Searches many times, and counts how often the answer was right."""
    step_s = fresh(step_beside_workers, seconds)()
    right_of = {name: enough(s, step_s) if s else {0} for name, s in LOAD_S.items()} | {LOCKED: {0}}
    given = rounds, seconds, budget_s
    cases = {loader: fresh(searched, loader, *given) for loader in right_of}
    seen = interleaved(cases, searches, warm_up=0)
    rows = [["loader", "right", "recommended", "right in", "by loading alone", "took, s"]]
    figures: dict[str, Any] = {}
    for loader, right in right_of.items():
        of = seen[loader]
        answers = {key: Counter(of[key].tolist()) for key in ("recommended", "by_loading")}
        hits = f"{sum(answers['recommended'][count] for count in right)} of {searches}"
        told, by_loading = map(in_words, answers.values())
        took = spread(of["took_s"])
        rows.append([loader, " or ".join(map(str, sorted(right))), told, hits, by_loading, took])
        figures[loader] = answers | {"right": sorted(right), "took_s": of["took_s"]}
    about = f"A training step takes {1000 * step_s:.2f} ms, with {CORES} workers that load nothing."
    return Page([about, rows], figures)


def in_words(counts: Counter[int]) -> str:
    """`4 (19×), 8 (1×)`."""
    return ", ".join(f"{count} ({times}×)" for count, times in counts.most_common())


if __name__ == "__main__":
    main(measure, searches=1, rounds=1, seconds=0.02, budget_s=10.0)
