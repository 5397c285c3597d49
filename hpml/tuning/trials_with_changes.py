"""A job under tuning: the trial of it with some changes, whichever way these are made."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from omegaconf import DictConfig, OmegaConf

from hpml.trials.intervention import Intervention, computing_with
from hpml.trials.job_loader import NO_CHANGE, Loading
from hpml.trials.pace import SLOW_S, Pace, Timed
from hpml.trials.rounds import Candidate
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.trials.validation import Validating
from hpml.tuning.change import NONE, Change, Changes, in_order, intervention_of
from hpml.tuning.epoch_trials import epoch_s, steps_of, timed_fit, whole_fit
from hpml.tuning.fewer_checkpoints import advice, is_much
from hpml.tuning.seldom_acts import LONGEST_S, as_it_is, never, period_of, seldom_of, weight

LEAST_STEPS, MOST_STEPS, WARM_UP = 4, 200, 2
SLOW_STEPS, SLOW_WARM_UP = 2, 1  # of slow ones
# What is claimed comes from longer trials: in a few steps workers may not have come to their pace.
WHOLE_TIMES = 3
# A job finds its batches ready from the beginning where they load in such a part of a step.
HIDDEN = 0.25
MOST_SUBJECTS = 32
THREADS = "cpu.threads"
CALCULATED = (
    "steps are too slow to time all that acts seldom then: what its acts take is calculated from "
    "those of the job as it is"
)


class Tunable(Protocol):
    """What changes are made of: anybody's Trainer, or a configuration of ours."""

    def with_changes(self, changes: Changes) -> tuple[Subject, Intervention]:
        """The subject, and what a trial changes about it."""

    def close(self) -> None:
        """Lets go of copies, batches and workers."""


class Foreign:
    """Anybody's Trainer, of which a trial changes copies."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def with_changes(self, changes: Changes) -> tuple[Subject, Intervention]:
        return self.subject, intervention_of(changes)

    def close(self) -> None:
        self.subject.close()


class Ours:
    """A configuration, of which each set of keys makes a job anew; the last few are kept.

    `subject_for` makes the subject of a configuration.
    """

    def __init__(
        self, cfg: DictConfig, subject: Subject, subject_for: Callable[[DictConfig], Subject]
    ) -> None:
        self._cfg, self._subject_for = cfg, subject_for
        self._subjects: dict[Changes, Subject] = {frozenset(): subject}

    def with_changes(self, changes: Changes) -> tuple[Subject, Intervention]:
        wanted = frozenset(filter(_needs_another_job, changes))
        subject = self._subjects.pop(wanted, None)
        if subject is None:
            own = self._subjects[frozenset()]
            with computing_with(torch.get_num_threads()):  # which a configuration sets, too
                subject = own.agreement.here(lambda: self._subject_for(self.config(wanted)))
            subject.witness = own.witness
        self._subjects[wanted] = subject  # the last one is the one used last
        for old in [each for each in self._subjects if each][:-MOST_SUBJECTS]:
            self._subjects.pop(old).close()
        return subject, intervention_of(changes)

    def config(self, changes: Changes, of_process: bool = False) -> DictConfig:
        """The configuration with the changes' keys; with those too that hold for a process."""
        config = self._cfg.copy()
        for change in in_order(changes):
            for key, value in change.keys.items():
                if of_process or key != THREADS:
                    OmegaConf.update(config, key, value, force_add=True)
        return config

    def close(self) -> None:
        for subject in self._subjects.values():
            subject.close()


def _needs_another_job(change: Change) -> bool:
    """Whether its keys are more than a trial of the job as it is can change."""
    return bool(change.keys.keys() - {THREADS}) and change.settings == Settings()


def _changes_loading(change: Change) -> bool:
    return bool(change.keys or change.settings.loader or change.settings.batch_times)


def load_before(subject: Subject, seed: int, settings: Settings = NO_CHANGE) -> None:
    """Of several ranks each loads its first batch: what fails on one of them fails on all.

    In a fit the others would wait for it, in an exchange of the training's own.
    """
    if subject.agreement.ranks > 1:
        subject.agreement.here(lambda: subject.first_batch(seed, settings))


class Trials:
    """Short fits of a job with some changes, all of about one length; of whole epochs longer ones.

    `first` is the pace of the job as it is, `loading` that of its loader alone, by so many
    `workers`, where it is known. With `validating` an epoch has its part of a validation; a whole
    one has it with `proving`, which is the same where it is not given. In `period` steps all that
    changes may have act less often acts as often by any count.
    """

    def __init__(
        self,
        job: Tunable,
        wanted_s: float,
        first: Pace,
        loading: Pace | None,
        workers: int,
        validating: Validating | None = None,
        proving: Validating | None = None,
        period: int = 1,
    ) -> None:
        self._job, self.validating, self._period = job, validating, period
        self.proving = proving or validating
        is_slow = first.step_s > SLOW_S
        self._warm_up = SLOW_WARM_UP if is_slow else WARM_UP
        least = SLOW_STEPS if is_slow else LEAST_STEPS
        self._steps, self._whole_steps = (
            min(MOST_STEPS, max(least, round(times * wanted_s / max(first.step_s, 1e-9))))
            for times in (1, WHOLE_TIMES)
        )
        self._first_s, self._computing_s = first.step_s, first.step_s - first.wait_s
        self._step_s: dict[Changes, float] = {}  # of the job with changes, where they were tried
        # of one process that loads a batch
        self._load_s = first.wait_s if loading is None else loading.step_s * max(1, workers)
        self._loading: dict[Changes, Loading] = {}
        self._compiled = set[tuple[Changes, bool]]()
        self._whole: list[Timed] = []  # those that were tried
        self.ends_left_out = ""  # why whole epochs do without their ends, in words

    def __call__(self, changes: Changes) -> Candidate[Timed]:
        return lambda number: self._timed(changes, number, is_whole=False)

    def whole(self, changes: Changes) -> Candidate[Timed]:
        """The same of a whole epoch, with what comes once in it."""
        return lambda number: self._timed(changes, number, is_whole=True)

    def leave_ends(self, why: str) -> None:
        """From now on whole epochs are without their ends, for a reason, in words."""
        self.ends_left_out = why

    def _timed(self, changes: Changes, number: int, is_whole: bool) -> Timed:
        is_new = changes not in self._loading
        subject, intervention, loading = self.with_changes(changes)
        if is_new and any(map(_changes_loading, changes)):
            load_before(subject, number, intervention.settings)
        fit: Callable[..., Timed] = timed_fit
        validating, kind = self.validating, (changes, is_whole)
        if is_whole:
            fit, validating = partial(whole_fit, left_out=self.ends_left_out), self.proving
        tried = intervention
        if seldom_of(changes):
            tried = never(intervention, changes)
            fit = partial(fit, in_part=True) if is_whole else fit
        of = (subject, tried, loading, self.lengths(changes, is_whole), number, validating)
        if kind not in self._compiled and any("compile" in change.slots for change in changes):
            self._compiled.add(kind)
            fit(*of)  # each shape of a batch, an epoch's last one and validation too, comes before
        timed = fit(*of)
        if seldom_of(changes):
            timed = self._with_acts(changes, subject, intervention, timed, number, is_whole)
            if is_whole and not self.times_acts(changes) and CALCULATED not in subject.notes:
                subject.notes.append(CALCULATED)
        self._step_s[changes] = timed.pace.step_s
        self._whole += [timed] * is_whole
        return timed

    def checkpoints(self, may_try: bool) -> list[str]:
        """What fewer of them would save, in words; by one more trial where there was but one.

        A first one may import what a checkpoint needs.
        """
        subject, _, _ = self.with_changes(NONE)
        if may_try and len(self._whole) == 1 and is_much(self._whole):
            self.whole(NONE)(1)
        return advice(subject, self._whole, isinstance(self._job, Ours))

    def _with_acts(
        self,
        changes: Changes,
        subject: Subject,
        intervention: Intervention,
        timed: Timed,
        number: int,
        is_whole: bool,
    ) -> Timed:
        """An epoch in which what acts seldom acts; `timed` is one in which it never does."""
        is_timed, steps = self.times_acts(changes), steps_of(subject, intervention)
        shown = intervention if is_timed else as_it_is(intervention, changes)
        lengths = self.lengths(changes, is_whole, with_acts=is_timed)
        pace = subject.fit(shown, *lengths, seed=number)
        acts_s = max(0.0, pace.step_s - timed.pace.step_s) * weight(changes, steps, is_timed)
        step_s = timed.pace.step_s + acts_s / steps
        pace = replace(timed.pace, step_s=step_s)
        return replace(timed, epoch_s=timed.epoch_s + acts_s, pace=pace)

    def times_acts(self, changes: Changes) -> bool:
        """Whether as many steps can be timed as there are until all that acts seldom acts again."""
        if not seldom_of(changes):
            return True
        subject, intervention, _ = self.with_changes(changes)
        period = period_of(changes, accumulated(subject.trainer, intervention.settings))
        return period * self._step_s.get(changes, self._first_s) <= LONGEST_S

    def alone(self, changes: Changes) -> Candidate[Timed]:
        """The same of the loader alone, with an epoch's start: what is loaded ahead is in that."""

        def measure(number: int) -> Timed:
            subject, intervention, loading = self.with_changes(changes)
            steps = -(-max(self._steps, 2 * loading.ahead) // max(1, loading.workers))
            steps *= max(1, loading.workers)
            warm_up = self._warm_up + loading.ahead
            with computing_with(intervention.threads):
                pace = subject.load(warm_up, steps, number, intervention.settings)
            seconds = epoch_s(steps_of(subject, intervention), loading, pace)
            if not loading.workers:
                seconds += pace.start_s or 0.0
            return Timed(seconds, pace)

        return measure

    def with_changes(self, changes: Changes) -> tuple[Subject, Intervention, Loading]:
        """What the job is with them, and which processes load for it then."""
        subject, intervention = self._job.with_changes(changes)
        if changes not in self._loading:
            self._loading[changes] = subject.loading(intervention.settings)
        return subject, intervention, self._loading[changes]

    def lengths(
        self, changes: Changes, is_whole: bool = False, with_acts: bool = False
    ) -> tuple[int, int]:
        """Steps before those that are measured, and these.

        Where the job waits for its workers in the end, they are past the batches that are ready at
        first, and enough of them, for workers finish in bursts; optimizers step once in a while.
        What may act less often acts as often in them as in an epoch; `with_acts` so does what acts
        seldom by a change.
        """
        subject, intervention, loading = self.with_changes(changes)
        window = accumulated(subject.trainer, intervention.settings)
        workers = max(1, loading.workers)
        waits = self._load_s / workers > HIDDEN * self._computing_s
        ahead = loading.ahead if waits else 0
        acts = period_of(changes, window) if with_acts else 1
        whole = math.lcm(window, workers if waits else 1, self._period, acts)
        measured = max(self._whole_steps if is_whole else self._steps, 2 * ahead)
        return self._warm_up + ahead, -(-measured // whole) * whole
