"""How well `hpml.diagnose` predicts an epoch's time after a change, and how long it takes.

    python benchmarks/diagnosis.py [--rounds 2] [--budget-s 40] [--only NAME …]

Five jobs with one dominating cost or none, and five of other people's kinds. After each round of a
diagnosis' trials come two real fits with the timers: as it is, and with the change made. An epoch's
measured time is `epoch_s - validation_s` of the second of two epochs. Since a shared machine
drifts, the error is that of the ratio: the part of the epoch's time that is left, predicted to
measured. The error of the seconds themselves stands beside it; median (lowest to highest), of
`measured` and `then` over all fits. `took` is the diagnosis alone.

Torch computes in one thread: several that wait for each other make a step five times as long where
another program has a core.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from harness import Page, interleaved, main, silent_timers, spread
from torch import nn
from torch.utils.data import DataLoader

from hpml.diagnosis import experiment as engine
from hpml.diagnosis.experiment import ROUNDS, Experiment
from hpml.statistics import trimmed_estimate
from hpml.trials.rounds import Measurements
from hpml.trials.subject import Subject

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.jobs import JOBS, Convolutional, Images, Job, Stream
from helpers.jobs import trainer as quiet_trainer

BATCHES, BATCH_SIZE = 50, 32
TARGET = 0.10
KEPT = ("epoch_s", "saved_s", "callbacks_s", "overlap")  # of a diagnosis' figures
MakeJob = Callable[[Path], Job]


class InMemory:
    """The batches of a loader, loaded once; with a length where it has one."""

    def __init__(self, loader: Any) -> None:
        self.batches = list(loader)
        self.sized = not isinstance(loader.dataset, Stream)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        if not self.sized:
            raise TypeError("a stream has no length")
        return len(self.batches)


class Burning(L.Callback):
    """Computes for a few milliseconds after each step."""

    def on_train_batch_end(self, *_: Any) -> None:
        x = torch.full((400, 400), 0.5)
        for _ in range(6):
            x = (x @ x).clamp(0, 1)


class Case(NamedTuple):
    """A job, the same with a change made, and the trial that predicts it."""

    change: str
    job: MakeJob
    changed: MakeJob
    trial: str


def tiny() -> Convolutional:
    """A handful of parameters behind the images' means."""
    module = Convolutional()
    module.network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10))
    return module


def job(
    network: Callable[[], Convolutional], terms: int, burns: bool = False, workers: int = 0
) -> MakeJob:
    """A job on images of so many terms, which take their time to be made."""

    def made(folder: Path) -> Job:
        callbacks = [Burning(), L.pytorch.callbacks.LambdaCallback()] if burns else []
        options: Any = {"num_workers": workers, "persistent_workers": workers > 0}
        loader: Any = DataLoader(Images(BATCHES * BATCH_SIZE, terms), BATCH_SIZE, True, **options)
        return quiet_trainer(folder, callbacks=callbacks), network(), loader

    return made


def loading_free(job: MakeJob) -> Case:
    """A job, and the same on batches from memory."""
    kept = cache(lambda folder: InMemory(job(folder)[2]))
    return Case("from memory", job, lambda folder: (*job(folder)[:2], kept(folder)), "loading_free")


small, big = partial(Convolutional, 4), partial(Convolutional, 32)
CASES = {
    "slow loader": loading_free(job(small, 32)),
    "slow loader, a worker": loading_free(job(small, 64, workers=1)),
    # the worker loads while the network computes, which is longer: nothing is to be gained
    "hidden loader, a worker": loading_free(job(big, 8, workers=1)),
    # what is left of a tiny network the prediction, a bound, leaves out
    "big network": Case("tiny network", job(big, 32), job(tiny, 32), "compute_free"),
    "expensive callback": Case("left out", job(small, 4, True), job(small, 4), "without_Burning"),
    **{name: loading_free(partial(of_others, batches=BATCHES)) for name, of_others in JOBS.items()},
}
NAMES = list(CASES)
QUICK = ["slow loader", "expensive callback", "IterableDataset"]


def measured_s(job: MakeJob, folder: Path) -> float:
    """An epoch of training, by the timers of a real fit."""
    trainer, module, data = job(folder)
    timer, timers = silent_timers()
    trainer.callbacks.extend(timers)  # type: ignore[attr-defined]
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, data)
    time_s = timer.epochs[-1].time
    return float(time_s["epoch_s"] - (time_s["validation_s"] or 0.0))


def diagnosed(case: Case, folder: Path, budget_s: float) -> dict[str, Any]:
    """As `hpml.diagnose` does it, with two fits after each round; its wall time is without them."""
    fits: dict[str, list[float]] = {"as_it_is": [], "changed": []}
    measured_s(case.changed, folder)  # what happens once in a process
    begun, fits_s = time.perf_counter(), 0.0
    experiment = Experiment(Subject(*case.job(folder)), None, budget_s, lambda line: None)
    experiment.prepare()
    prepared = time.perf_counter()

    def stop(measured: Measurements[Any, Any]) -> bool:
        nonlocal fits_s
        number = measured.next_round
        if number:
            paused = time.perf_counter()
            fits["as_it_is"].append(measured_s(case.job, folder))
            fits["changed"].append(measured_s(case.changed, folder))
            fits_s += time.perf_counter() - paused
        late = time.perf_counter() - begun - fits_s > experiment.rounds_budget_s
        engine.keep(measured)
        clear = number >= ROUNDS[-1] and experiment.diagnosis().is_clear
        return clear or number >= (ROUNDS[-1] if late else experiment.rounds)

    measured = engine.measure(experiment.candidates(), stop)
    rounds_s = time.perf_counter() - prepared - fits_s
    experiment.round_s = rounds_s / measured.next_round
    experiment.try_callbacks()
    diagnosis = experiment.concluded()
    wall_s = time.perf_counter() - begun - fits_s
    # an epoch has other steps than it tells where it has no length; callbacks have their own rounds
    scale = BATCHES / diagnosis.steps
    base = "with_all" if case.trial.startswith("without_") else "as_it_is"
    whole, changed = (scale * diagnosis.epoch_s(trial).mean for trial in (base, case.trial))
    # as the diagnosis' own: without the highest and the lowest fifth
    before, after = (trimmed_estimate(times).mean for times in fits.values())  # type: ignore[union-attr]
    figures = diagnosis.as_dict()
    return {
        "measured_s": fits,
        "predicted_s": {"as_it_is": whole, "changed": changed},
        "error": (changed / whole) / (after / before) - 1,
        "error_as_it_is": whole / before - 1,
        "error_of_seconds": changed / after - 1,
        "wall_s": wall_s,
        "verdict": diagnosis.verdict,
        "diagnosis": {key: figures[key] for key in KEPT},
    }


def measure(rounds: int = 2, budget_s: float = 40.0, only: list[str] = NAMES) -> Page:
    """Diagnoses each job in turn."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: partial(diagnosed, CASES[name], Path(folder), budget_s) for name in only}
        seen = interleaved(cases, rounds, warm_up=0)
    heading = ["job", "change", "measured, s", "then", "predicted"]
    rows = [[*heading, "ratio off by, %", "seconds", "took, s"]]
    for name, of in seen.items():
        fits = [np.concatenate(of["measured_s"][key]) for key in ("as_it_is", "changed")]
        times = [*fits, of["predicted_s"]["changed"]]
        errors = [100 * of["error"], 100 * of["error_of_seconds"]]
        shown = [*(spread(values, ".2f") for values in times), *(spread(e, "+.1f") for e in errors)]
        rows.append([name, CASES[name].change, *shown, spread(of["wall_s"])])
    within = sum(abs(np.median(of["error"])) <= TARGET for of in seen.values())
    seconds = np.median([abs(error) for of in seen.values() for error in of["error_of_seconds"]])
    by_ratio = f"By the ratio {within} of {len(seen)} jobs are within {TARGET:.0%}; the seconds are"
    return Page([rows, f"{by_ratio} off by {seconds:.1%} in the median of all diagnoses."], seen)


if __name__ == "__main__":
    main(measure, rounds=1, budget_s=1.0, only=QUICK)
