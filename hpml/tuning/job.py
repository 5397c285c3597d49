"""A job under tuning: the trial of it with some changes, whichever way these are made."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from omegaconf import DictConfig, OmegaConf

from hpml.trials.intervention import Intervention, computing_with
from hpml.trials.pace import STEPS_SHOWN, Pace
from hpml.trials.rounds import Candidate
from hpml.trials.subject import Loading, Subject
from hpml.trials.trainer import accumulated
from hpml.tuning.change import Changes, in_order, intervention_of
from hpml.tuning.search import Timed

# Seconds and steps of a trial.
LEAST_S, MOST_S, OF_BUDGET = 0.15, 1.5, 1 / 250
LEAST_STEPS, MOST_STEPS = 4, 200
WARM_UP = 2
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
        of_process = frozenset(each for each in changes if each.keys.keys() <= {THREADS})
        wanted = changes - of_process
        subject = self._subjects.pop(wanted, None)
        if subject is None:
            with computing_with(torch.get_num_threads()):  # which a configuration sets, too
                subject = self._subject_for(self.config(wanted))
            subject.witness = self._subjects[frozenset()].witness
        self._subjects[wanted] = subject  # the last one is the one used last
        for old in [each for each in self._subjects if each][:-MOST_SUBJECTS]:
            self._subjects.pop(old).close()
        return subject, Intervention(threads=intervention_of(changes).threads)

    def config(self, changes: Changes) -> DictConfig:
        """The configuration with the changes' keys."""
        config = self._cfg.copy()
        for change in in_order(changes):
            for key, value in change.keys.items():
                if key != THREADS:  # which holds for the process
                    OmegaConf.update(config, key, value, force_add=True)
        return config

    def close(self) -> None:
        for subject in self._subjects.values():
            subject.close()


class Trials:
    """Short fits of a job with some changes, all of about the same length."""

    def __init__(self, job: Tunable, first: Pace, budget_s: float) -> None:
        self._job = job
        wanted_s = min(MOST_S, max(LEAST_S, OF_BUDGET * budget_s))
        steps = round(wanted_s / first.step_s) if first.step_s else MOST_STEPS
        self._steps = min(MOST_STEPS, max(LEAST_STEPS, steps))
        self._loading: dict[Changes, Loading] = {}

    def __call__(self, changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            subject, intervention = self._job.with_changes(changes)
            is_new = changes not in self._loading
            if is_new:
                self._loading[changes] = subject.loading(intervention.settings)
            loading = self._loading[changes]
            whole = math.lcm(accumulated(subject.trainer), max(1, loading.workers))
            steps = -(-max(self._steps, 2 * loading.ahead) // whole) * whole
            if is_new and any("compile" in change.slots for change in changes):
                # each shape of a batch, an epoch's last one too, is compiled before it is timed
                subject.fit(intervention, WARM_UP + loading.ahead, steps, seed=number)
            pace = subject.fit(intervention, WARM_UP + loading.ahead, steps, seed=number)
            return Timed(epoch_s(subject.epoch_steps, loading, pace), pace)

        return measure


def epoch_s(steps: int | None, loading: Loading, pace: Pace) -> float:
    """Seconds of an epoch at a pace, with the start of workers that do not persist."""
    if steps is None:
        return STEPS_SHOWN * pace.step_s
    waited_s = max(0.0, (pace.first_s or 0.0) - pace.wait_s)
    return steps * pace.step_s + waited_s * loading.starts_anew
