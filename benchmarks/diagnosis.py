"""How well `hpml.diagnose` predicts an epoch's time after a change, and how long it takes.

    python benchmarks/diagnosis.py [--rounds 2] [--budget-s 40] [--threads 1] [--clock real]
        [--only NAME …]

Five jobs with one dominating cost or none, and five of other people's kinds. After each round of a
diagnosis' trials come two real fits with the timers: as it is, and with the change made. An epoch's
measured time is `epoch_s - validation_s` of the second of two epochs. Since a shared machine
drifts, the error is that of the ratio: the part of the epoch's time that is left, predicted to
measured. The error of the seconds themselves stands beside it.

Torch computes in one thread: several that wait for each other make a step five times as long where
another program has a core. With `--clock processor` both sides are timed by what the process had
of a processor, which tells the method's error from the machine's: nothing in these jobs sleeps.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from harness import spread, write
from torch.utils.data import DataLoader

from hpml.callbacks import phase_timers
from hpml.diagnosis.experiment import ROUNDS, Experiment, measure
from hpml.diagnosis.wording import Diagnosis
from hpml.statistics import trimmed_estimate
from hpml.trials.rounds import Measurements
from hpml.trials.subject import Subject

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import jobs as foreign

BATCHES, BATCH_SIZE = 50, 32
TARGET = 0.10


class InMemory:
    """The batches of a loader, loaded once; with a length only where it has one."""

    def __init__(self, loader: Any) -> None:
        self.batches = list(loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Sized(InMemory):
    """With a length."""

    def __len__(self) -> int:
        return len(self.batches)


class Burning(L.Callback):
    """Computes something after each step."""

    def on_train_batch_end(self, *_: Any) -> None:
        """A few milliseconds."""
        x = torch.full((400, 400), 0.5)
        for _ in range(6):
            x = (x @ x).clamp(0, 1)


@dataclass(frozen=True)
class Case:
    """A job, the same with a change made, and the trial that predicts it."""

    name: str
    change: str
    job: Callable[[Path], foreign.Job]
    changed: Callable[[Path], foreign.Job]
    trial: str


def images(terms: int, workers: int = 0) -> Any:
    """A loader of images that take their time to be made."""
    data = foreign.Images(BATCHES * BATCH_SIZE, terms)
    persistent = workers > 0
    return DataLoader(
        data, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=persistent
    )


def with_loading_free(job: Callable[[Path], foreign.Job]) -> Callable[[Path], foreign.Job]:
    """The same job on batches from memory."""

    kept: list[InMemory] = []

    def changed(folder: Path) -> foreign.Job:
        trainer, module, loader = job(folder)
        if not kept:
            kind = InMemory if isinstance(loader.dataset, foreign.Stream) else Sized
            kept.append(kind(loader))
        return trainer, module, kept[0]

    return changed


def slow_loader(folder: Path) -> foreign.Job:
    """Loading dominates."""
    return foreign.trainer(folder), foreign.Convolutional(4), images(32)


def slow_loader_of_workers(folder: Path) -> foreign.Job:
    """Loading dominates still, and overlaps with computing."""
    return foreign.trainer(folder), foreign.Convolutional(4), images(64, workers=1)


def hidden_loader(folder: Path) -> foreign.Job:
    """A worker loads while the network computes, which is longer: nothing is to be gained."""
    return foreign.trainer(folder), foreign.Convolutional(32), images(8, workers=1)


def big_network(folder: Path) -> foreign.Job:
    """Computing dominates."""
    return foreign.trainer(folder), foreign.Convolutional(32), images(32)


def small_network(folder: Path) -> foreign.Job:
    """The same with hardly any network: what is left of it the prediction, a bound, leaves out."""
    return foreign.trainer(folder), Tiny(), images(32)


def with_callback(folder: Path) -> foreign.Job:
    """A callback dominates."""
    trainer = foreign.trainer(folder, callbacks=[Burning(), L.pytorch.callbacks.LambdaCallback()])
    return trainer, foreign.Convolutional(4), images(4)


def without_callback(folder: Path) -> foreign.Job:
    """The same without it."""
    return foreign.trainer(folder), foreign.Convolutional(4), images(4)


class Tiny(foreign.Convolutional):
    """A handful of parameters behind the images' means."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 10)
        )


CASES = [
    Case("slow loader", "from memory", slow_loader, with_loading_free(slow_loader), "loading_free"),
    Case(
        "slow loader, a worker",
        "from memory",
        slow_loader_of_workers,
        with_loading_free(slow_loader_of_workers),
        "loading_free",
    ),
    Case(
        "hidden loader, a worker",
        "from memory",
        hidden_loader,
        with_loading_free(hidden_loader),
        "loading_free",
    ),
    Case("big network", "tiny network", big_network, small_network, "compute_free"),
    Case("expensive callback", "left out", with_callback, without_callback, "without_Burning"),
    *(
        Case(name, "from memory", job, with_loading_free(job), "loading_free")
        for name, job in (
            (name, partial(job, batches=BATCHES)) for name, job in foreign.JOBS.items()
        )
    ),
]


def measured_s(job: Callable[[Path], foreign.Job], folder: Path) -> float:
    """An epoch of training, by the timers of a real fit."""
    trainer, module, data = job(folder)
    timers = phase_timers()
    timers[-1]._say = lambda line: None  # type: ignore[attr-defined]
    every: Any = trainer
    every.callbacks.extend(timers)
    every.fit_loop.max_epochs = 2
    trainer.fit(module, data)
    epoch = timers[-1].epochs[-1]  # type: ignore[attr-defined]
    return float(epoch.time["epoch_s"] - (epoch.time["validation_s"] or 0.0))


def predicted_s(found: Diagnosis, trial: str) -> tuple[float, float]:
    """Of an epoch as it is and with the change made; callbacks have rounds of their own."""
    as_it_is = "with_all" if trial.startswith("without_") else "as_it_is"
    scale = BATCHES / found.steps  # without a length it tells other steps than an epoch's
    return scale * found.epoch_s(as_it_is).mean, scale * found.epoch_s(trial).mean


def one_diagnosis(case: Case, folder: Path, budget_s: float) -> dict[str, Any]:
    """As `hpml.diagnose` does it, with two fits after each round; its wall time is without them."""
    fits: dict[str, list[float]] = {"as_it_is": [], "changed": []}
    measured_s(case.changed, folder)  # what happens once in a process
    begun, fits_s = time.perf_counter(), 0.0
    experiment = Experiment(Subject(*case.job(folder)), None, budget_s, lambda line: None)
    experiment.prepare()

    def stop(measured: Measurements[Any, Any]) -> bool:
        nonlocal fits_s
        number = measured.next_round
        if number:
            paused = time.perf_counter()
            fits["as_it_is"].append(measured_s(case.job, folder))
            fits["changed"].append(measured_s(case.changed, folder))
            fits_s += time.perf_counter() - paused
        late = time.perf_counter() - begun - fits_s > experiment.rounds_budget_s
        return number >= (ROUNDS[-1] if late else experiment.rounds)

    measure(experiment.candidates(), stop)
    experiment.try_callbacks()
    found = experiment.concluded()
    wall_s = time.perf_counter() - begun - fits_s
    before, after = (mean(fits[name]) for name in ("as_it_is", "changed"))
    whole, changed = predicted_s(found, case.trial)
    kept = {
        "measured_s": fits,
        "predicted_s": {"as_it_is": whole, "changed": changed},
        "error": (changed / whole) / (after / before) - 1,
        "error_as_it_is": whole / before - 1,
        "error_of_seconds": changed / after - 1,
        "wall_s": wall_s,
        "verdict": found.verdict,
        "diagnosis": {
            key: found.as_dict()[key] for key in ("epoch_s", "saved_s", "callbacks_s", "overlap")
        },
    }
    print(
        f"{case.name}: as it is {before:.2f} s, {whole:.2f} s predicted; {case.change} "
        f"{after:.2f} s, {changed:.2f} s predicted; ratio off by {kept['error']:+.1%}; "
        f"{found.rounds} rounds in {wall_s:.0f} s; {found.verdict['kind']}",
        flush=True,
    )
    return kept


def mean(values: list[float]) -> float:
    """As the diagnosis' own: without the highest and the lowest fifth."""
    known = trimmed_estimate(values)
    assert known is not None
    return known.mean


def main() -> None:
    """Measures, prints, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--budget-s", type=float, default=40.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["real", "processor"], default="real")
    parser.add_argument("--only", nargs="*", choices=[case.name for case in CASES])
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(given.threads)
    if given.clock == "processor":
        time.perf_counter_ns = time.process_time_ns
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    cases = [case for case in CASES if not given.only or case.name in given.only]
    seen: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            for case in cases:
                seen[case.name].append(one_diagnosis(case, Path(folder), given.budget_s))
    if given.only:
        return
    rows = [
        [
            "job",
            "change",
            "measured, s",
            "then",
            "predicted",
            "ratio off by, %",
            "seconds",
            "took, s",
        ]
    ]
    for case in cases:
        rounds = seen[case.name]
        rows.append(
            [
                case.name,
                case.change,
                spread([s for one in rounds for s in one["measured_s"]["as_it_is"]], ".2f"),
                spread([s for one in rounds for s in one["measured_s"]["changed"]], ".2f"),
                spread([one["predicted_s"]["changed"] for one in rounds], ".2f"),
                spread([100 * one["error"] for one in rounds], "+.1f"),
                spread([100 * one["error_of_seconds"] for one in rounds], "+.1f"),
                spread([one["wall_s"] for one in rounds]),
            ]
        )
    told = (
        f"{given.rounds} diagnoses of each job with a budget of {given.budget_s:.0f} s, "
        f"{given.threads} thread, the {given.clock} clock; median (lowest to highest), of "
        f"`measured` and `then` over all fits. Seconds of an epoch of {BATCHES} steps, training "
        "alone: as it is and then with the change made, by the timers of real fits between the "
        "diagnosis' rounds; the second predicted by the diagnosis of the job as it is. `ratio`: "
        "the epoch with the change to the one without, predicted to measured; `seconds`: the "
        "predicted time itself to the measured one. `took`: the diagnosis alone, by the real clock."
    )
    theme = "diagnosis" if given.clock == "real" else f"diagnosis-{given.clock}"
    write(theme, "What a diagnosis predicts, and what then happens", told, rows, seen)
    errors = [abs(statistics.median([one["error"] for one in of])) for of in seen.values()]
    within = sum(error <= TARGET for error in errors)
    print(f"{within} of {len(errors)} jobs within {TARGET:.0%} by the ratio")
    every = [abs(one["error_of_seconds"]) for of in seen.values() for one in of]
    print(f"seconds: off by {statistics.median(every):.1%} in the median of all diagnoses")


if __name__ == "__main__":
    main()
