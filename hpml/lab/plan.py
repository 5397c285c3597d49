"""How long the lab takes, and how all parts are fitted into a budget."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hpml.config.conf import find_conf
from hpml.errors import UserError
from hpml.formatting import counted, duration_in_words, size_in_words, table
from hpml.lab.parts import (
    DEVICES,
    DIAGNOSIS,
    NO_NORM,
    SEARCH_ROUNDS,
    SEARCH_S,
    SUMMARIES,
    SUMMARY,
    TRAINING,
    WORKERS,
)
from hpml.lab.pilot import Pilot
from hpml.lab.tasks import Tasks
from hpml.system.environment import usable_cores

# Record, log and curves of a training, and a sweep's report; the lab keeps no checkpoints.
JOB_BYTES, PAGES_BYTES = 150_000, 3_000_000
# A summary, a command beside its imports, and the report: seconds on a usual machine.
SUMMARY_S, COMMAND_S, REPORT_S = 5.0, 2.0, 8.0
# What a diagnosis needs of a slow job: pilot and three rounds of trials with a full step in them.
DIAGNOSIS_STEPS = 75
# Steps of a trial of a slow job, and rounds that a search for workers has however late it is.
FEWEST_SEARCHED, LEAST_ROUNDS = 4, 2
FEWER_ROUNDS = (10, 3, 2)  # of a search that may not have all: the most of these that fit
# The part of a budget that the search for workers may take, and that is kept for the unforeseen.
WORKERS_SHARE, RESERVE = 0.25, 0.05
# How far such an estimate is off at least, be the pilot's steps ever so even.
LEAST_UNCERTAINTY = 0.15
FEWEST_BATCHES = 2
SWEEPS = (TRAINING, NO_NORM, DEVICES)
REPORT = "report"


@dataclass(frozen=True)
class Planned:
    """What a task is to do, in words, the seconds that it takes, and its trainings."""

    task: str
    what: str
    seconds: float
    jobs: int = 0


@dataclass(frozen=True)
class Plan:
    """What the lab does, and how long each task takes."""

    has: frozenset[str]  # the names of the tasks that there are
    trainings: tuple[tuple[str, str, int], ...]  # sweep, device, how many are to be made
    # by device; the first one searches for workers and diagnoses; none where all is counting
    pilots: dict[str, Pilot]
    epochs: int  # of a training
    counts: int  # numbers of workers that are likely tried
    rounds: int  # how often each is measured
    all_rounds: int  # the same without a budget
    seconds: float  # of each such measurement
    search_s: float  # seconds that the search is given
    short_search_s: float  # the same where a budget does not do for that
    diagnosis_s: float  # what a diagnosis is given
    limit: int | None = None  # batches of an epoch; None: all
    is_fixed: bool = False  # the length of the trainings was decided before
    done: frozenset[str] = frozenset()  # tasks that were done before

    @classmethod
    def of_lab(
        cls, cfg: DictConfig, tasks: Tasks, pilots: dict[str, Pilot], is_fixed: bool
    ) -> "Plan":
        """The plan of a lab's configuration; what is done already takes no time."""
        from hpml.worker_counts.counts_to_try import SMALL_MACHINE, counts_to_try

        search, own, cores = _keys_of("workers", cfg), cfg.get("workers") or {}, usable_cores()
        settings = tasks.search["settings"] if tasks.search else {}
        measured = settings.get(str(tasks.to_train_with))
        if pilots and measured is not None:  # for longer than a pilot, and with these workers
            first = tasks.devices[0]
            step_s = measured["epoch_s"]["mean"] / pilots[first].epoch_steps
            pilots = pilots | {first: replace(pilots[first], step_s=step_s)}
        likely = counts_to_try(cores, search.step, search.most)
        return cls(
            has=frozenset(tasks.has),
            done=frozenset(tasks.done),
            trainings=tuple(tasks.trainings),
            pilots=pilots,
            epochs=cfg.trainer.max_epochs,
            counts=len(list(itertools.islice(likely, min(cores, SMALL_MACHINE) + 3))),
            rounds=tasks.worker_rounds or search.rounds or SEARCH_ROUNDS,
            all_rounds=search.rounds or SEARCH_ROUNDS,
            seconds=search.seconds,
            search_s=tasks.search_s or own.get("budget_s") or SEARCH_S,
            short_search_s=search.budget_s,
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
        return sum(number for *_, number in self.trainings)

    @property
    def left(self) -> list[Planned]:
        """The tasks that are not done, in their order, and the report."""
        names = (SUMMARY, WORKERS, DIAGNOSIS, *SWEEPS, REPORT)
        return [
            Planned(name, self._what(name), seconds, self._jobs_of(name))
            for name in names
            if (seconds := self.of(name))
        ]

    def of(self, task: str) -> float:
        """Seconds of one task; 0 where there is nothing to do."""
        if task == REPORT:
            return REPORT_S + self._start_s if self.has - self.done else 0.0
        if task in self.done or task not in self.has:
            return 0.0
        if task == SUMMARY:
            return len(SUMMARIES) * SUMMARY_S
        if task in SWEEPS:
            around_s, a_batch_s = self._of_trainings(task)
            return around_s + (self.limit or self._whole) * a_batch_s
        step_s, build_s = self.first.step_s, self.first.build_s
        command_s = COMMAND_S + self._start_s + build_s
        if task == WORKERS:
            # the loader alone and the training, one of them twice, of a few steps at least
            round_s = (2 * self.counts + 1) * max(self.seconds, FEWEST_SEARCHED * step_s)
            rounds_s = round_s * max(LEAST_ROUNDS, self.rounds)
            return command_s + max(LEAST_ROUNDS * round_s, min(rounds_s, self.search_s))
        return command_s + build_s + 2 * max(self.diagnosis_s, DIAGNOSIS_STEPS * step_s)

    @property
    def seconds_in_all(self) -> float:
        return sum(planned.seconds for planned in self.left)

    @property
    def trainings_s(self) -> float:
        return sum(map(self.of, SWEEPS))

    @property
    def least_s(self) -> float:
        """Seconds of all tasks, with the fewest rounds and the shortest trainings."""
        limit = self.limit if self.is_fixed else self._fewest
        return replace(self, limit=limit, rounds=min(2, self.rounds)).seconds_in_all

    @property
    def length(self) -> str:
        """Of an epoch: `3 of 391 batches`."""
        steps = self.first.epoch_steps
        whole = f"{steps:,} batch{'es' * (steps != 1)}"
        return f"{self.limit:,} of {whole}" if self.limit else whole

    def fitted(self, budget_s: float) -> "Plan":
        """With fewer rounds of the search, then shorter epochs, as far as they have to be.

        Trainings whose length is decided keep it; none has less than FEWEST_BATCHES, however little
        the budget is.
        """
        shorter = self
        fewer = [(min(rounds, self.rounds), self.short_search_s) for rounds in FEWER_ROUNDS]
        for rounds, search_s in [(self.rounds, self.search_s), *fewer]:
            shorter = replace(self, rounds=rounds, search_s=search_s)
            least = replace(shorter, limit=self.limit if self.is_fixed else self._fewest)
            if self._may_search(shorter, budget_s) and least.seconds_in_all <= budget_s:
                break
        left_s = budget_s - (shorter.seconds_in_all - shorter.trainings_s)
        return shorter.with_trainings_in(left_s)

    def with_trainings_in(self, left_s: float) -> "Plan":
        """With epochs, all alike, so short that the trainings take no longer, as in `fitted`."""
        if not self.trainings or self.is_fixed:
            return self
        sums = zip(*(self._of_trainings(name) for name in SWEEPS), strict=True)
        around_s, a_batch_s = map(sum, sums)
        batches = max(self._fewest, math.floor((left_s - around_s) / a_batch_s))
        longest = self.limit or self._whole
        return self if batches >= longest else replace(self, limit=batches)

    def lines(self) -> Iterator[str]:
        """What is to be done, how much of it, and how long that takes."""
        rows = []
        for name in (SUMMARY, WORKERS, DIAGNOSIS, *SWEEPS):
            if name in self.done:
                rows.append([name, "", "done"])
            elif name in self.has:
                rows.append([name, self._what(name), duration_in_words(self.of(name))])
        if not self.has <= self.done:
            rows.append([REPORT, self._what(REPORT), duration_in_words(self.of(REPORT))])
        yield from (f"  {line}" for line in (table(rows, "<<<") if rows else ()))
        if self.has <= self.done:
            yield "all of it is done" if self.has else "nothing is to be done"
            return
        seconds = self.seconds_in_all
        # as much as the pilots' steps vary
        off = min(0.9, max([LEAST_UNCERTAINTY, *(pilot.spread for pilot in self.pilots.values())]))
        low, high = (duration_in_words((1 + by) * seconds)[6:] for by in (-off, off))
        disk = size_in_words(self.jobs * JOB_BYTES + PAGES_BYTES)
        shortened = f"; shortened: epochs of {self.length}" if self.limit and self.jobs else ""
        yield f"{duration_in_words(seconds)} in all ({low} to {high}), {disk} of disk{shortened}"

    def _what(self, task: str) -> str:
        if task in SWEEPS:
            length = f" of {self.length}" if self.pilots else ""
            trainings = counted(self._jobs_of(task), "training")
            return f"{trainings} of {counted(self.epochs, 'epoch')}{length}"
        of_all = f"{self.rounds} of " if self.rounds < self.all_rounds else ""
        rounds = f"{of_all}{counted(self.all_rounds, 'quiet round')}"
        return {
            SUMMARY: "layers, parameters, gradients counted",
            WORKERS: f"about {self.counts} numbers of workers, at most {rounds}",
            DIAGNOSIS: "two numbers of workers diagnosed",
            REPORT: "the lab's own start, pictures, page",
        }[task]

    def _jobs_of(self, sweep: str) -> int:
        return sum(each for name, _, each in self.trainings if name == sweep)

    @property
    def _start_s(self) -> float:
        return self.first.start_s if self.pilots else 0.0

    @property
    def _whole(self) -> int:
        """Training batches of a whole epoch."""
        steps = (pilot.epoch_steps for pilot in self.pilots.values())
        return min(steps, default=FEWEST_BATCHES)

    @property
    def _fewest(self) -> int:
        return min(FEWEST_BATCHES, self._whole)

    @staticmethod
    def _may_search(plan: "Plan", budget_s: float) -> bool:
        return plan.of(WORKERS) <= WORKERS_SHARE * budget_s

    def _of_trainings(self, sweep: str) -> tuple[float, float]:
        """Seconds of a sweep's trainings apart from their steps, and of a batch in every epoch."""
        of_sweep = [(device, each) for name, device, each in self.trainings if name == sweep]
        pilots = [(each, self.pilots[device]) for device, each in of_sweep]
        around_s = sum(number * (pilot.around_s + COMMAND_S) for number, pilot in pilots)
        return around_s, self.epochs * sum(number * pilot.step_s for number, pilot in pilots)


def parts_within(
    budget_min: float,
    parts: Sequence[str],
    plan_of: Callable[[Sequence[str]], Plan],
    spent_s: float,
) -> list[str]:
    """As many parts as fit into a budget, of which some seconds are spent; the cheapest first.

    Raises UserError where none fits.
    """
    budget_s = usable_s(budget_min) - spent_s
    alone_s = {part: plan_of([part]).least_s for part in parts}
    kept: list[str] = []
    for part in sorted(parts, key=alone_s.__getitem__):
        if plan_of([*kept, part]).least_s <= budget_s:
            kept.append(part)
    if not kept:
        one, every = min(alone_s.values()) + spent_s, plan_of(parts).least_s + spent_s
        several = f" for one of them, {least_min(every)} for all" if len(parts) > 1 else ""
        what = "any of these parts" if len(parts) > 1 else parts[0]
        raise UserError(
            f"lab.budget_min={budget_min:g}: too small for {what}; "
            f"give at least {least_min(one)}{several}"
        )
    return [part for part in parts if part in kept]


def least_min(seconds: float) -> int:
    """The minutes of a budget into which so many seconds fit."""
    return math.ceil(seconds / usable_s(1))


def usable_s(budget_min: float) -> float:
    """Seconds of a budget, without what is kept for the unforeseen."""
    return (1 - RESERVE) * 60 * budget_min


def _keys_of(program: str, cfg: DictConfig) -> Any:
    """A program's own keys; those that the lab's command line has go before."""
    theirs: Any = OmegaConf.load(find_conf() / f"{program}.yaml")
    return OmegaConf.merge(theirs[program], cfg.get(program) or {})
