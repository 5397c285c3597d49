"""How well `hpml.tune` finds what makes a job faster: the right changes, and the gain it claims.

    python benchmarks/tune.py [--rounds 1] [--budget-s 180] [--fits 3] [--jobs NAME …]

Twelve jobs whose best changes are known, and five modules of kinds as they are met elsewhere. Each
is tuned as anybody's Trainer; then it is fitted in turn as it is and with the changes that were
found, `fits` times each. An epoch's measured time is that of the second epoch, from its start to
its end; where the job validates, the mean of as many epochs from there on as have one validation.
`right` are changes that touch all of the settings in which the job is slow, and no others than
those that may help it on some machines; where there are none, `nothing to gain` is right, and `not
answered` is not. The claimed gain is what the tuning says; the measured one is the ratio of the
fits' medians.
"""

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from harness import Page, interleaved, main, spread
from lightning.pytorch.callbacks import LambdaCallback

from hpml.trials.intervention import computing_with
from hpml.tuning.change import Changes, intervention_of, names
from hpml.tuning.tuner import tune

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.slow_jobs import JOBS, Job, SlowJob

TARGET = 0.10
NAMES = list(JOBS)
QUICK = ["slow item", "reading callback"]


@contextlib.contextmanager
def changed(case: SlowJob, changes: Changes, folder: Path) -> Iterator[Job]:
    """The job with changes made, as its user would make them."""
    intervention = intervention_of(changes)
    settings = intervention.settings
    arguments = {
        "precision": settings.precision,
        "log_every_n_steps": settings.log_every,
        "check_val_every_n_epoch": settings.check_every or None,
        "max_epochs": 1 + (settings.check_every or 1),
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    trainer, module, loader = case.job(folder, **given)
    settings.change_loader(loader)
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if type(callback).__name__ in settings.rests:
            settings.rest(callback)
    made = LambdaCallback(on_train_start=lambda t, _: settings.set_optimizers(t.optimizers))
    callbacks.append(made)
    with computing_with(intervention.threads), settings.applied(module, {}):
        yield trainer, module, loader


def measured_s(case: SlowJob, changes: Changes, folder: Path) -> float:
    """An epoch of a real fit, from its start to the next one's."""
    begun_s: list[float] = []

    def begin(*_: Any) -> None:
        begun_s.append(time.perf_counter())

    with changed(case, changes, folder) as (trainer, module, loader):
        clock = LambdaCallback(on_train_epoch_start=begin, on_train_end=begin)
        trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
        trainer.fit(module, loader)
    return (begun_s[-1] - begun_s[1]) / (len(begun_s) - 2)


def tuned(case: SlowJob, folder: Path, budget_s: float, fits: int) -> dict[str, Any]:
    """What is found, what it claims, and what real fits say."""
    with computing_with(case.threads):
        begun = time.perf_counter()
        found = tune(*case.job(folder), budget_s, (), lambda line: None)
        wall_s = time.perf_counter() - begun
        changes: Changes = frozenset(found.changes)
        times: dict[str, list[float]] = {"as_it_is": [], "changed": []}
        for _ in range(fits if changes else 0):
            times["as_it_is"].append(measured_s(case, frozenset(), folder))
            times["changed"].append(measured_s(case, changes, folder))
    slots = {slot for change in changes for slot in change.slots}
    is_right = case.needed <= slots <= case.needed | case.may
    if not case.needed | case.may:
        is_right = found.sentence.startswith("nothing to gain")
    gain = math.exp(found.gain.mean) if found.gain else 1.0
    ratio = 1.0
    if changes and fits:
        ratio = float(np.median(times["as_it_is"]) / np.median(times["changed"]))
    return {
        "found": names(changes) or found.sentence.partition(":")[0],
        "is_right": float(is_right),
        "claimed": gain,
        "least": math.exp(found.gain.low) if found.gain else 1.0,
        "measured": ratio,
        "error": gain / ratio - 1,
        "wall_s": wall_s,
        "fits_s": times,
        "sentence": found.sentence,
    }


def measure(
    rounds: int = 1, budget_s: float = 180.0, fits: int = 3, jobs: list[str] = NAMES
) -> Page:
    """Tunes each job in turn."""
    if unknown := [name for name in jobs if name not in JOBS]:
        sys.exit(f"--jobs {unknown[0]!r}: give some of {', '.join(map(repr, NAMES))}")
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: partial(tuned, JOBS[name], Path(folder), budget_s, fits) for name in jobs}
        seen = interleaved(cases, rounds, warm_up=0)
    columns = ("right in", "claimed", "proven", "measured", "took, s")
    rows = [["job", "to be changed", "found", *columns]]
    for name, of in seen.items():
        figures = [spread(of[key], ".2f") for key in ("claimed", "least", "measured")]
        needed = ", ".join(sorted(JOBS[name].needed)) or "nothing"
        found = "; ".join(dict.fromkeys(of["found"]))
        right_in = f"{of['is_right'].sum():.0f} of {rounds}"
        rows.append([name, needed, found, right_in, *figures, spread(of["wall_s"])])
    right = sum(bool(of["is_right"].all()) for of in seen.values())
    errors = [
        abs(error)
        for of in seen.values()
        for error, fitted in zip(of["error"], of["fits_s"]["changed"], strict=True)
        if np.size(fitted)
    ]
    median = f"{np.median(errors):.1%}" if errors else "nothing"
    told = f"The right changes were found for {right} of {len(seen)} jobs; the claimed gain is off"
    return Page([rows, f"{told} by {median} in the median ({TARGET:.0%} wanted)."], seen)


if __name__ == "__main__":
    main(measure, rounds=1, budget_s=20.0, fits=1, jobs=QUICK)
