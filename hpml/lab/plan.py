"""How long the lab takes: a few steps are measured, and all parts fitted into a budget."""

import itertools
import math
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hpml.config.conf import find_conf
from hpml.errors import UserError
from hpml.formatting import counted, duration_in_words, size_in_words
from hpml.lab.parts import DIAGNOSIS, SUMMARIES, SUMMARY, TRAINING, WORKERS
from hpml.lab.tasks import Tasks
from hpml.system.environment import usable_cores
from hpml.system.fresh_process import PRELOADED

# Short fits of a pilot, and the steps of each that are measured.
PILOT_FITS, PILOT_STEPS = 3, 1
# Record, log and curves of a training, and a sweep's report; the lab keeps no checkpoints.
JOB_BYTES, PAGES_BYTES = 150_000, 3_000_000
# A summary, and a command's own start, beside what the pilot measured: seconds on a usual machine.
SUMMARY_S, COMMAND_S = 15.0, 2.0
# What a diagnosis needs of a slow job: pilot and three rounds of trials with a full step in them.
DIAGNOSIS_STEPS = 36
# The part of a budget that the search for workers may take, and that is kept for the unforeseen.
WORKERS_SHARE, RESERVE = 0.25, 0.05
# How far such an estimate is off at least, be the pilot's steps ever so even.
LEAST_UNCERTAINTY = 0.15
FEWEST_BATCHES = 2


@dataclass(frozen=True)
class Pilot:
    """What a few steps on one device have shown.

    Attributes:
        step_s: of the training, end to end.
        around_s: of a training's process, apart from its steps.
        build_s: the part of it that makes data, module and Trainer.
        steps_s: what the steps of the pilot itself took.
        epoch_steps: training batches of a whole epoch.
        environment: the record's.
        spread: half of the range of its fits' steps, as a part of `step_s`.
    """

    step_s: float
    around_s: float
    build_s: float
    steps_s: float
    epoch_steps: int
    environment: dict[str, Any]
    spread: float = 0.0

    def starting_in(self, around_s: float) -> "Pilot":
        """With what its process took in all, apart from its steps."""
        return replace(self, around_s=around_s)


def look_at_data(config: dict[str, Any]) -> None:
    """Downloads what is not there, and looks at every file, once for all parts.

    Raises UserError for wrong data.
    """
    from hpml.data.build import build_data

    cfg = OmegaConf.create(config)
    assert isinstance(cfg, DictConfig)
    build_data(cfg)


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
    from hpml.system import environment
    from hpml.trials.configured import subject_of
    from hpml.trials.intervention import Intervention

    cfg = OmegaConf.create(config)
    assert isinstance(cfg, DictConfig)
    subject = subject_of(cfg)
    subject.batches_ahead()
    if subject.epoch_steps is None:
        raise UserError("the training data has no length: give trainer.limit_train_batches")
    build_s = time.perf_counter() - begun
    every = [
        subject.fit(Intervention(), 1, PILOT_STEPS, number).step_s for number in range(PILOT_FITS)
    ]
    steps_s = (PILOT_STEPS + 2) * sum(every)
    step_s = median(every)
    return Pilot(
        step_s=step_s,
        around_s=max(0.0, time.perf_counter() - begun - steps_s),
        build_s=build_s,
        steps_s=steps_s,
        epoch_steps=subject.epoch_steps,
        environment=environment.describe(subject.device.type),
        spread=(max(every) - min(every)) / 2 / step_s,
    )


@dataclass
class Plan:
    """What the lab takes, in seconds.

    Args:
        has: the names of the tasks that there are.
        trainings: a device and how many trainings, for each sweep of them.
        pilots: by device; the first one searches for workers and diagnoses.
        epochs: of a training.
        counts: numbers of workers that are likely tried.
        rounds: how often each is measured.
        seconds: of each such measurement.
        diagnosis_s: what a diagnosis is given.
    """

    has: set[str]
    trainings: list[tuple[str, int]]
    pilots: dict[str, Pilot]
    epochs: int
    counts: int
    rounds: int
    seconds: float
    diagnosis_s: float
    limit: int | None = None
    is_fixed: bool = False  # the length of the trainings was decided before
    done: set[str] = field(default_factory=set)  # tasks that were done before
    all_rounds: int = field(init=False)

    def __post_init__(self) -> None:
        self.all_rounds = self.rounds

    @property
    def first(self) -> Pilot:
        """Of the device that trains first."""
        return next(iter(self.pilots.values()))

    def of(self, task: str) -> float:
        """Seconds of one kind of task; all trainings are one."""
        if task in self.done or task not in self.has:
            return 0.0
        if task == SUMMARY:
            return len(SUMMARIES) * SUMMARY_S
        if task == WORKERS:
            return COMMAND_S + self.counts * self.rounds * self._measurement_s
        if task == DIAGNOSIS:
            each = max(self.diagnosis_s, DIAGNOSIS_STEPS * self.first.step_s)
            return COMMAND_S + 2 * (each + self.first.build_s)
        return sum(number * self._training_s(device) for device, number in self.trainings)

    @classmethod
    def of_lab(
        cls,
        cfg: DictConfig,
        tasks: Tasks,
        pilots: dict[str, Pilot],
        is_fixed: bool,
    ) -> "Plan":
        """The plan of a lab's configuration; what is done already takes no time."""
        from hpml.workers.search import SMALL_MACHINE, counts_to_try

        search, cores = _keys_of("workers", cfg), usable_cores()
        searched = (tasks.found or {"settings": {}})["settings"].get(str(tasks.to_train_with))
        if searched is not None:  # for longer than a pilot, and with these workers
            first = tasks.devices[0]
            step_s = searched["epoch_s"]["mean"] / pilots[first].epoch_steps
            pilots = pilots | {first: replace(pilots[first], step_s=step_s)}
        likely = counts_to_try(cores, search.step, search.most)
        return cls(
            has=tasks.has,
            done=tasks.done,
            trainings=tasks.trainings,
            pilots=pilots,
            epochs=cfg.trainer.max_epochs,
            counts=len(list(itertools.islice(likely, min(cores, SMALL_MACHINE) + 3))),
            rounds=search.rounds,
            seconds=search.seconds,
            diagnosis_s=_keys_of("diagnose", cfg).budget_s,
            limit=tasks.limit,
            is_fixed=is_fixed,
        )

    @property
    def seconds_in_all(self) -> float:
        """Of all tasks."""
        return sum(self.of(task) for task in (SUMMARY, WORKERS, DIAGNOSIS, TRAINING))

    @property
    def jobs(self) -> int:
        """Trainings."""
        return sum(number for _, number in self.trainings)

    @property
    def least_s(self) -> float:
        """Of all tasks, with the shortest trainings."""
        limit = self.limit if self.is_fixed else self._fewest
        return replace(self, limit=limit).seconds_in_all

    def fit(self, budget_min: float) -> None:
        """Shortens what can be shortened: the rounds of the search, then all epochs alike.

        Trainings whose length is decided keep it. Raises UserError where that is not enough.
        """
        budget_s = usable_s(budget_min)
        for rounds in [n for n in (self.rounds, 3, 2) if n <= self.rounds]:
            self.rounds = rounds
            if self.of(WORKERS) <= WORKERS_SHARE * budget_s and self.least_s <= budget_s:
                break
        if self.is_fixed:
            return
        if self.least_s > budget_s:
            what = "these parts"
            if self.jobs:
                length = f"{self._fewest} batch{'es' * (self._fewest > 1)}"
                what = f"{counted(self.jobs, 'training')} here, even with epochs of {length}"
            least = math.ceil(self.least_s / usable_s(1))
            raise UserError(
                f"lab.budget_min={budget_min:g}: too small for {what}; give at least {least}, or "
                "fewer lab.parts"
            )
        self.fit_trainings(budget_s - (self.seconds_in_all - self.of(TRAINING)))

    def fit_trainings(self, left_s: float) -> None:
        """Shortens the epochs of all trainings alike, so that they take what is left.

        They keep FEWEST_BATCHES, however little that is.
        """
        if not self.trainings or self.is_fixed:
            return
        around_s = sum(n * self._around_s(device) for device, n in self.trainings)
        a_step_s = sum(n * self.epochs * self.pilots[d].step_s for d, n in self.trainings)
        steps = max(self._fewest, math.floor((left_s - around_s) / a_step_s))
        self.limit = steps if steps < self._whole else None

    def lines(self, heading: str) -> list[str]:
        """What is to be done, how much of it, and how long that takes."""
        found = []
        for task, what in (
            (SUMMARY, "layers, parameters, gradients counted"),
            (WORKERS, f"about {self.counts} numbers of workers, {self._told_rounds}"),
            (DIAGNOSIS, "two numbers of workers diagnosed"),
            (TRAINING, f"{counted(self.jobs, 'training')} of {self._epochs}"),
        ):
            if task in self.done:
                found.append(f"  {task:<10} {'':<46} done")
            elif task in self.has:
                found.append(f"  {task:<10} {what:<46} {duration_in_words(self.of(task))}")
        if self.has <= self.done:
            return [heading, *found, "all of it is done"]
        low, high = (
            duration_in_words((1 + sign * self._uncertainty) * self.seconds_in_all)[6:]
            for sign in (-1, 1)
        )
        told = f"{duration_in_words(self.seconds_in_all)} in all ({low} to {high}), "
        told += f"{size_in_words(self.jobs * JOB_BYTES + PAGES_BYTES)} of disk"
        if self.limit:
            told += f"; shortened: epochs of {self.limit:,} of {self.first.epoch_steps:,} batches"
        return [heading, *found, told]

    @property
    def _uncertainty(self) -> float:
        """How far the plan may be off, as a part of it: as much as the pilots' steps vary."""
        spreads = (pilot.spread for pilot in self.pilots.values())
        return min(0.9, max([LEAST_UNCERTAINTY, *spreads]))

    @property
    def _whole(self) -> int:
        """Training batches of a whole epoch."""
        return min(pilot.epoch_steps for pilot in self.pilots.values())

    @property
    def _fewest(self) -> int:
        return min(FEWEST_BATCHES, self._whole)

    @property
    def _told_rounds(self) -> str:
        of_all = f"{self.rounds} of " if self.rounds < self.all_rounds else ""
        return f"{of_all}{counted(self.all_rounds, 'round')}"

    @property
    def _epochs(self) -> str:
        whole = self.first.epoch_steps
        length = f"{self.limit:,} of {whole:,}" if self.limit else f"{whole:,}"
        return f"{counted(self.epochs, 'epoch')} of {length} batches"

    @property
    def _measurement_s(self) -> float:
        """The loader alone and the training, each with a pilot; of slow steps a few."""
        step_s = self.first.step_s
        training_s = 4 * step_s if 2 * step_s > self.seconds else 6 * step_s + self.seconds
        return COMMAND_S + self.first.build_s + 2 * self.seconds + training_s

    def _around_s(self, device: str) -> float:
        return self.pilots[device].around_s + COMMAND_S

    def _training_s(self, device: str) -> float:
        pilot = self.pilots[device]
        steps = self.epochs * (self.limit or pilot.epoch_steps)
        return self._around_s(device) + steps * pilot.step_s


def usable_s(budget_min: float) -> float:
    """Of a budget, without what is kept for the unforeseen."""
    return (1 - RESERVE) * 60 * budget_min


def _keys_of(program: str, cfg: DictConfig) -> Any:
    """A program's own keys; those that the lab's command line has go before."""
    theirs: Any = OmegaConf.load(find_conf() / f"{program}.yaml")
    return OmegaConf.merge(theirs[program], cfg.get(program) or {})
