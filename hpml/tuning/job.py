"""A job under tuning: the trial of it with some changes, whichever way these are made."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from omegaconf import DictConfig, OmegaConf

from hpml.trials.intervention import Intervention, computing_with
from hpml.trials.job_loader import NO_CHANGE, Loading
from hpml.trials.pace import STEPS_SHOWN, Pace, Timed
from hpml.trials.rounds import Candidate
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.trials.validation import Validating
from hpml.tuning.change import Change, Changes, in_order, intervention_of

LEAST_STEPS, MOST_STEPS, WARM_UP = 4, 200, 2
# Of steps that are so slow fewer are enough, for every one more is a cost.
SLOW_S, SLOW_STEPS, SLOW_WARM_UP = 0.2, 2, 1
# A job finds its batches ready from the beginning where they load in such a part of a step.
HIDDEN = 0.25
MOST_SUBJECTS = 32
THREADS = "cpu.threads"


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
    """Short fits of a job with some changes, all of about the same length.

    `first` is the pace of the job as it is, `loading` that of its loader alone, by so many
    `workers`, where it is known. With `validating` an epoch has its part of a validation.
    """

    def __init__(
        self,
        job: Tunable,
        wanted_s: float,
        first: Pace,
        loading: Pace | None,
        workers: int,
        validating: Validating | None = None,
    ) -> None:
        self._job, self.validating = job, validating
        is_slow = first.step_s > SLOW_S
        self._warm_up = SLOW_WARM_UP if is_slow else WARM_UP
        steps = round(wanted_s / first.step_s) if first.step_s else MOST_STEPS
        self._steps = min(MOST_STEPS, max(SLOW_STEPS if is_slow else LEAST_STEPS, steps))
        self._computing_s = first.step_s - first.wait_s
        # of one process that loads a batch
        self._load_s = first.wait_s if loading is None else loading.step_s * max(1, workers)
        self._loading: dict[Changes, Loading] = {}

    def __call__(self, changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            is_new = changes not in self._loading
            subject, intervention, loading = self.with_changes(changes)
            if is_new and any(map(_changes_loading, changes)):
                load_before(subject, number, intervention.settings)
            of = (subject, intervention, loading, self.lengths(changes), number, self.validating)
            if is_new and any("compile" in change.slots for change in changes):
                timed_fit(*of)  # each shape of a batch, an epoch's last one too, is compiled before
            return timed_fit(*of)

        return measure

    def alone(self, changes: Changes) -> Candidate[Timed]:
        """The same of the loader alone, with an epoch's start: what is loaded ahead is in that."""

        def measure(number: int) -> Timed:
            subject, intervention, loading = self.with_changes(changes)
            steps = -(-max(self._steps, 2 * loading.ahead) // max(1, loading.workers))
            steps *= max(1, loading.workers)
            warm_up = self._warm_up + loading.ahead
            with computing_with(intervention.threads):
                pace = subject.load(warm_up, steps, number, intervention.settings)
            seconds = epoch_s(_steps(subject, intervention), loading, pace)
            if not loading.starts_anew:
                seconds += pace.start_s or 0.0
            return Timed(seconds, pace)

        return measure

    def with_changes(self, changes: Changes) -> tuple[Subject, Intervention, Loading]:
        """What the job is with them, and which processes load for it then."""
        subject, intervention = self._job.with_changes(changes)
        if changes not in self._loading:
            self._loading[changes] = subject.loading(intervention.settings)
        return subject, intervention, self._loading[changes]

    def lengths(self, changes: Changes) -> tuple[int, int]:
        """Steps before those that are measured, and these.

        Where the job waits for its workers in the end, they are past the batches that are ready at
        first, and enough of them, for workers finish in bursts; optimizers step once in a while.
        """
        subject, intervention, loading = self.with_changes(changes)
        window = accumulated(subject.trainer, intervention.settings)
        workers = max(1, loading.workers)
        waits = self._load_s / workers > HIDDEN * self._computing_s
        ahead = loading.ahead if waits else 0
        whole = math.lcm(window, workers if waits else 1)
        return self._warm_up + ahead, -(-max(self._steps, 2 * ahead) // whole) * whole


def timed_fit(
    subject: Subject,
    intervention: Intervention,
    loading: Loading,
    lengths: tuple[int, int],
    seed: int,
    validating: Validating | None = None,
) -> Timed:
    """An epoch by one short fit, and by a few batches of validation where that is timed."""
    pace = subject.fit(intervention, *lengths, seed=seed)
    checks_s = 0.0 if validating is None else validating.seconds(subject, intervention)
    seconds = epoch_s(_steps(subject, intervention), loading, pace)
    return Timed(seconds + checks_s, pace, checks_s)


def epoch_s(steps: int, loading: Loading, pace: Pace) -> float:
    """Seconds of so many steps at a pace, with the start of workers that do not persist."""
    waited_s = max(0.0, (pace.first_s or 0.0) - pace.wait_s)
    return steps * pace.step_s + waited_s * loading.starts_anew


def _steps(subject: Subject, intervention: Intervention) -> int:
    """Of an epoch, or as many as stand for one; fewer where a batch has more samples."""
    steps = subject.epoch_steps or STEPS_SHOWN
    return -(-steps // max(1, intervention.settings.batch_times))
