"""A few steps of a job on a device, from which the lab plans."""

import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from omegaconf import DictConfig

from hpml.errors import UserError
from hpml.system import environment
from hpml.system.fresh_process import PRELOADED

# Short fits of a pilot, and the steps of each that are measured; none begins after so long.
PILOT_FITS, PILOT_STEPS, PILOT_S = 3, 1, 5.0


@dataclass(frozen=True)
class Pilot:
    step_s: float  # of the training, end to end
    around_s: float  # of a training's process, apart from its steps
    build_s: float  # the part of it that makes data, module and Trainer
    steps_s: float  # what the steps of the pilot itself took
    epoch_steps: int  # training batches of a whole epoch
    environment: dict[str, Any]  # the record's
    spread: float = 0.0  # half of the range of its fits' steps, as a part of `step_s`
    measured_at: float = 0.0  # seconds since 1970
    start_s: float = 0.0  # in which a command of its own has imported what it needs


def look_at_data(config: dict[str, Any]) -> None:
    """Downloads what is not there, and looks at every file. Raises UserError for wrong data."""
    from hpml.data.build import build_data

    build_data(DictConfig(config))


def measured_start_s() -> float:
    """Seconds in which a command of its own has imported what it trains with; pilots are forks."""
    begun = time.monotonic()
    modules = ", ".join([*PRELOADED, "torch.utils.tensorboard"])
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=False)
    return time.monotonic() - begun


def pilot(config: dict[str, Any]) -> Pilot:
    """Measures a few steps of a job; to be called in a fresh process.

    Raises UserError for wrong data and the like, and for data that has no end.
    """
    begun = time.perf_counter()
    from hpml.training.prepare import prepare
    from hpml.trials.intervention import Intervention
    from hpml.trials.subject import subject_of

    # a program's key, as in its own configuration: the number of workers is still to be found
    subject = subject_of(prepare(DictConfig(config | {"lab": None})))
    subject.loading()
    if subject.epoch_steps is None:
        raise UserError("the training data has no length: give trainer.limit_train_batches")
    build_s = time.perf_counter() - begun
    steps: list[float] = []
    while len(steps) < PILOT_FITS and (PILOT_STEPS + 2) * sum(steps) < PILOT_S:
        steps.append(subject.fit(Intervention(), 1, PILOT_STEPS, len(steps)).step_s)
    steps_s, step_s = (PILOT_STEPS + 2) * sum(steps), median(steps)
    return Pilot(
        step_s=step_s,
        around_s=max(0.0, time.perf_counter() - begun - steps_s),
        build_s=build_s,
        steps_s=steps_s,
        epoch_steps=subject.epoch_steps,
        environment=environment.describe(subject.device.type),
        spread=(max(steps) - min(steps)) / 2 / step_s,
    )
