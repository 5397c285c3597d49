"""How long the lab takes, and how all parts are fitted into a budget."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hpml.config.conf import find_conf
from hpml.errors import UserError
from hpml.formatting import counted, duration_in_words, size_in_words
from hpml.lab.parts import DIAGNOSIS, SUMMARIES, SUMMARY, TRAINING, WORKERS
from hpml.lab.pilot import Pilot
from hpml.lab.tasks import Tasks
from hpml.system.environment import usable_cores

# Record, log and curves of a training, and a sweep's report; the lab keeps no checkpoints.
JOB_BYTES, PAGES_BYTES = 150_000, 3_000_000
# A summary, and a command's own start, beside what the pilot measured: seconds on a usual machine.
SUMMARY_S, COMMAND_S = 15.0, 2.0
# What a diagnosis needs of a slow job: pilot and three rounds of trials with a full step in them.
DIAGNOSIS_STEPS = 75
# Steps of a trial of a slow job, and rounds that a search for workers has however late it is.
FEWEST_SEARCHED, LEAST_ROUNDS = 4, 2
# The part of a budget that the search for workers may take, and that is kept for the unforeseen.
WORKERS_SHARE, RESERVE = 0.25, 0.05
# How far such an estimate is off at least, be the pilot's steps ever so even.
LEAST_UNCERTAINTY = 0.15
FEWEST_BATCHES = 2


@dataclass
class Plan:
    """What the lab takes, in seconds."""

    has: set[str]  # the names of the tasks that there are
    trainings: list[tuple[str, int]]  # a device and how many trainings, for each sweep of them
    # by device; the first one searches for workers and diagnoses; none where all is counting
    pilots: dict[str, Pilot]
    epochs: int  # of a training
    counts: int  # numbers of workers that are likely tried
    rounds: int  # how often each is measured
    seconds: float  # of each such measurement
    search_s: float  # what the search is given
    diagnosis_s: float  # what a diagnosis is given
    limit: int | None = None
    is_fixed: bool = False  # the length of the trainings was decided before
    done: set[str] = field(default_factory=set)  # tasks that were done before
    all_rounds: int = field(init=False)

    def __post_init__(self) -> None:
        self.all_rounds = self.rounds

    @classmethod
    def of_lab(
        cls, cfg: DictConfig, tasks: Tasks, pilots: dict[str, Pilot], is_fixed: bool
    ) -> "Plan":
        """The plan of a lab's configuration; what is done already takes no time."""
        from hpml.worker_counts.counts import SMALL_MACHINE, counts_to_try

        search, cores = _keys_of("workers", cfg), usable_cores()
        settings = tasks.search["settings"] if tasks.search else {}
        measured = settings.get(str(tasks.to_train_with))
        if pilots and measured is not None:  # for longer than a pilot, and with these workers
            first = tasks.devices[0]
            step_s = measured["epoch_s"]["mean"] / pilots[first].epoch_steps
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
            search_s=search.budget_s,
            diagnosis_s=_keys_of("diagnose", cfg).budget_s,
            limit=tasks.limit,
            is_fixed=is_fixed,
        )

    @property
    def first(self) -> Pilot:
        """Pilot of the device that trains first."""
        return next(iter(self.pilots.values()))

    @property
    def jobs(self) -> int:
        return sum(number for _, number in self.trainings)

    def of(self, task: str) -> float:
        """Seconds of one kind of task; all trainings are one."""
        if task in self.done or task not in self.has:
            return 0.0
        if task == SUMMARY:
            return len(SUMMARIES) * SUMMARY_S
        step_s, build_s = self.first.step_s, self.first.build_s
        if task == WORKERS:
            # the loader alone and the training, of a few steps at least
            each_s = 2 * max(self.seconds, FEWEST_SEARCHED * step_s)
            rounds_s = self.counts * each_s * max(LEAST_ROUNDS, self.rounds)
            least_s = self.counts * each_s * LEAST_ROUNDS
            return COMMAND_S + build_s + max(least_s, min(rounds_s, self.search_s))
        if task == DIAGNOSIS:
            return COMMAND_S + 2 * (max(self.diagnosis_s, DIAGNOSIS_STEPS * step_s) + build_s)
        around_s, a_batch_s = self._trainings_s
        return around_s + (self.limit or self._whole) * a_batch_s

    @property
    def seconds_in_all(self) -> float:
        return sum(map(self.of, (SUMMARY, WORKERS, DIAGNOSIS, TRAINING)))

    @property
    def least_s(self) -> float:
        """Seconds of all tasks, with the shortest trainings."""
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
            raise UserError(
                f"lab.budget_min={budget_min:g}: too small for {what}; give at least "
                f"{math.ceil(self.least_s / usable_s(1))}, or fewer lab.parts"
            )
        self.fit_trainings(budget_s - (self.seconds_in_all - self.of(TRAINING)))

    def fit_trainings(self, left_s: float) -> None:
        """Shortens the epochs of all trainings alike, so that they take what is left.

        They keep FEWEST_BATCHES, however little that is.
        """
        if self.trainings and not self.is_fixed:
            around_s, a_batch_s = self._trainings_s
            batches = max(self._fewest, math.floor((left_s - around_s) / a_batch_s))
            self.limit = batches if batches < self._whole else None

    def lines(self) -> Iterator[str]:
        """What is to be done, how much of it, and how long that takes."""
        of_all = f"{self.rounds} of " if self.rounds < self.all_rounds else ""
        rounds = f"{of_all}{counted(self.all_rounds, 'round')}"
        trainings = f"{counted(self.jobs, 'training')} of {counted(self.epochs, 'epoch')}"
        trainings += f" of {self._length}" if self.pilots else ""
        for task, what in (
            (SUMMARY, "layers, parameters, gradients counted"),
            (WORKERS, f"about {self.counts} numbers of workers, {rounds}"),
            (DIAGNOSIS, "two numbers of workers diagnosed"),
            (TRAINING, trainings),
        ):
            if task in self.done:
                yield f"  {task:<10} {'':<46} done"
            elif task in self.has:
                yield f"  {task:<10} {what:<46} {duration_in_words(self.of(task))}"
        if self.has <= self.done:
            yield "all of it is done"
            return
        seconds = self.seconds_in_all
        # as much as the pilots' steps vary
        off = min(0.9, max([LEAST_UNCERTAINTY, *(pilot.spread for pilot in self.pilots.values())]))
        low, high = (duration_in_words((1 + by) * seconds)[6:] for by in (-off, off))
        disk = size_in_words(self.jobs * JOB_BYTES + PAGES_BYTES)
        shortened = f"; shortened: epochs of {self._length}" if self.limit else ""
        yield f"{duration_in_words(seconds)} in all ({low} to {high}), {disk} of disk{shortened}"

    @property
    def _length(self) -> str:
        whole = f"{self.first.epoch_steps:,} batches"
        return f"{self.limit:,} of {whole}" if self.limit else whole

    @property
    def _whole(self) -> int:
        """Training batches of a whole epoch."""
        steps = (pilot.epoch_steps for pilot in self.pilots.values())
        return min(steps, default=FEWEST_BATCHES)

    @property
    def _fewest(self) -> int:
        return min(FEWEST_BATCHES, self._whole)

    @property
    def _trainings_s(self) -> tuple[float, float]:
        """Seconds of all trainings apart from their steps, and of a batch in every epoch."""
        pilots = [(number, self.pilots[device]) for device, number in self.trainings]
        around_s = sum(number * (pilot.around_s + COMMAND_S) for number, pilot in pilots)
        return around_s, self.epochs * sum(number * pilot.step_s for number, pilot in pilots)


def usable_s(budget_min: float) -> float:
    """Seconds of a budget, without what is kept for the unforeseen."""
    return (1 - RESERVE) * 60 * budget_min


def _keys_of(program: str, cfg: DictConfig) -> Any:
    """A program's own keys; those that the lab's command line has go before."""
    theirs: Any = OmegaConf.load(find_conf() / f"{program}.yaml")
    return OmegaConf.merge(theirs[program], cfg.get(program) or {})
