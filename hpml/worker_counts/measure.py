"""Searches the number of workers of a job by short fits of copies, in rounds."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from operator import attrgetter
from typing import Any

import lightning as L
from omegaconf import DictConfig
from torch.utils.data import IterableDataset

from hpml.errors import UserError
from hpml.formatting import counted, in_s
from hpml.statistics import Estimate
from hpml.system.environment import usable_cores
from hpml.system.other_programs import warn_of_others
from hpml.training.prepare import Job, prepare
from hpml.trials.interference_watch import watched
from hpml.trials.intervention import Intervention
from hpml.trials.job_data import data_loaders
from hpml.trials.pace import FEWEST_STEPS, STEPS_SHOWN, Timed
from hpml.trials.subject import Subject, subject_of
from hpml.tuning.change import NONE, Changes
from hpml.tuning.changes.any_trainer import loader_workers, threads_change
from hpml.tuning.changes.configuration import key_change, workers_change
from hpml.tuning.checks import check_budget, first_step
from hpml.tuning.trials_with_changes import THREADS, Foreign, Ours, Trials, Tunable
from hpml.worker_counts.answer import WorkersAnswer, content_of, lines, per, recommended
from hpml.worker_counts.counts_to_try import counts_to_try, in_words
from hpml.worker_counts.search import ENDLESS, Search
from hpml.worker_counts.search_result import AGAIN, LOADING, SPAN, SearchResult

LEAST_BUDGET_S = 5.0
SECONDS = 0.5
Report = Callable[[str], None]


class CountTrials:
    """Trials of a job with numbers of workers: by the loader alone, and end to end.

    Raises UserError for data of which an epoch is a single batch, or that comes as a stream, and
    where the first step fails.
    """

    def __init__(
        self, subject: Subject, job: Tunable, change_of: Callable[[Any], Changes], seconds: float
    ) -> None:
        self._change_of = change_of
        self.subject = subject
        first_step(subject)
        _refuse_streams(subject)
        if subject.epoch_steps == 1:
            raise UserError(
                "an epoch is a single batch: nothing is loaded ahead; "
                "give more data, or a smaller data.batch_size"
            )
        ahead = subject.loading().ahead
        first = subject.fit(Intervention(), 1, FEWEST_STEPS, seed=0)
        alone = subject.load(ahead + 1, ahead + FEWEST_STEPS, seed=0)
        self._trials = Trials(job, seconds, first, alone, subject.data.num_workers)

    def __call__(self, figure: str, setting: Any) -> Any:
        changes = self._change_of(setting)
        return self._trials.alone(changes) if figure == LOADING else self._trials(changes)

    def holds_epoch(self, count: int) -> bool:
        """Whether so many workers load a whole epoch ahead: more would have nothing to do."""
        _, _, loading = self._trials.with_changes(self._change_of(count))
        return loading.ahead >= (self.subject.epoch_steps or math.inf)

    def search(
        self, rounds: int | None, budget_s: float, report: Report, now: Any = None
    ) -> Search:
        """One whose line for each count tells what its first trials have found.

        Without a number of `rounds` the budget ends it where they do not answer before. The setting
        that is set `now` trains twice in a round, where it is tried.
        """
        until = time.perf_counter() + budget_s
        loading: dict[Any, str] = {}
        found = SearchResult()
        found.span = SPAN if self.subject.epoch_steps else f"{STEPS_SHOWN:,} steps"

        def tell(name: tuple[str, Any], number: int, timed: Timed) -> None:
            figure, setting = name
            seconds = in_s(Estimate(timed.epoch_s, None, 1))
            if figure == LOADING:
                loading[setting] = f"loading alone {seconds}, "
                return
            who = in_words(setting) + " again" * (figure == AGAIN)
            alone = loading.pop(setting, "")
            report(f"round {number + 1}: {who}: {alone}end to end {seconds} {per(found.span)}")

        return Search(
            self,
            rounds or ENDLESS,
            lambda: until - time.perf_counter(),
            self.holds_epoch,
            tell,
            watched(self.subject.witness, attrgetter("pace.waiting_share")),
            found,
            now,
        )


class ConfiguredSearch:
    """A search for the workers of a configuration's job; to be closed."""

    def __init__(self, cfg: DictConfig, report: Report) -> None:
        self._keys, self._report = cfg.workers, report
        self._job: Job = prepare(cfg)
        subject = subject_of(self._job)
        self._ours = Ours(cfg, subject, lambda config: subject_of(prepare(config)))
        self._trials = CountTrials(subject, self._ours, self._of_count, cfg.workers.seconds)

    def run(self) -> SearchResult:
        keys = self._keys
        now = self._job.cfg.data.num_workers
        search = self._trials.search(keys.rounds, keys.budget_s, self._report, now)
        with self._trials.subject.stops:
            return search.run(counts_to_try(usable_cores(), keys.step, keys.most))

    def also(self, workers: int, also: Mapping[str, Sequence[Any]]) -> SearchResult | None:
        """A number of workers with other settings; None where none of them has an effect.

        `also` has keys, and the values to try of each; those of `data` need workers.
        """
        if not workers and len(also) > (THREADS in also):
            self._report("workers.also: keys of data have no effect without workers")
            also = {key: values for key, values in also.items() if key == THREADS}
        count = self._of_count(workers)
        changes: dict[str, Changes] = {}
        for key, values in also.items():
            for value in values:
                own = threads_change(value) if key == THREADS else key_change(self._job, key, value)
                changes[f"{key}={json.dumps(value)}"] = count | {own}
        if not changes:
            return None
        trials = CountTrials(
            self._trials.subject, self._ours, changes.__getitem__, self._keys.seconds
        )
        search = trials.search(self._keys.rounds, self._keys.budget_s, lambda line: None)
        with trials.subject.stops:
            return search.race(list(changes))

    def close(self) -> None:
        self._ours.close()

    def _of_count(self, count: int) -> Changes:
        now = self._job.cfg.data.get("num_workers")
        return NONE if count == now else frozenset({workers_change(self._job, count)})


def check_seconds(budget_s: Any, key: str) -> None:
    """Raises UserError for a budget that is none, or too small for a search."""
    check_budget(budget_s, key, LEAST_BUDGET_S, "numbers of workers")


def _refuse_streams(subject: Subject) -> None:
    for loader in data_loaders(subject.data.loader):
        if isinstance(loader.dataset, IterableDataset):
            raise UserError(
                f"data: {type(loader.dataset).__name__} is an IterableDataset, whose samples each "
                "worker may give again; give a data set with an index, or tune, which compares "
                "what is loaded"
            )


def workers(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: Any,
    budget_s: float,
    most: int | None,
    report: Report,
) -> WorkersAnswer:
    """Finds the number of loading workers of anybody's Trainer: see `hpml.workers`."""
    check_seconds(budget_s, "budget_s")
    is_count = isinstance(most, int) and not isinstance(most, bool) and most >= 0
    if most is not None and not is_count:
        raise UserError(f"most={most!r}: give a whole number of workers, or None")
    subject = Subject(trainer, module, data)
    with closing(subject), subject.stops:
        warn_of_others()
        first_step(subject)
        if len(loaders := data_loaders(subject.data.loader)) != 1:
            raise UserError(
                f"data: has {counted(len(loaders), 'DataLoader')} of torch's; workers are searched "
                "for one"
            )
        (loader,) = loaders
        now, key = loader.num_workers, "num_workers"
        is_alike = not now or loader.persistent_workers  # as all others are measured

        def of_count(count: int) -> Changes:
            is_no_change = count == now and is_alike
            return NONE if is_no_change else frozenset({loader_workers(count, loader)})

        trials = CountTrials(subject, Foreign(subject), of_count, SECONDS)
        search = trials.search(None, budget_s, report, now)
        found = search.run(counts_to_try(usable_cores(), most=most))
        for line in lines(found, "workers"):
            report(line)
        best = recommended(found, now)
        is_kept = best == now and not found.is_answered
        words = [line for each in of_count(best) for _, line in each.lines if not is_kept]
        override = " ".join(words) or f"{key}={now}"
        return WorkersAnswer(None, content_of(found, now, key, override))
