"""Tunes a job: what limits it, what may help, what it computes then, and what that brings."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from omegaconf import DictConfig

from hpml.diagnosis import experiment as diagnosing
from hpml.diagnosis.experiment import Experiment
from hpml.diagnosis.trial_figures import AS_IT_IS, LOADER_ALONE
from hpml.diagnosis.wording import Diagnosis
from hpml.errors import UserError, first_line, place, reason
from hpml.formatting import counted
from hpml.system import environment
from hpml.system.other_programs import warn_of_others
from hpml.system.signals import RunInterrupted
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import NS_PER_S
from hpml.training.prepare import prepare
from hpml.trials.interference_watch import watched
from hpml.trials.pace import Timed
from hpml.trials.ranks_agreement import agreement_of
from hpml.trials.rounds import Measurements
from hpml.trials.sameness import DIFFERENT, Reference, Sameness
from hpml.trials.subject import Subject, subject_of
from hpml.trials.validation import checks_an_epoch
from hpml.tuning.answer import Tuning
from hpml.tuning.caveats import why_not_taken
from hpml.tuning.change import NONE, VALIDATION, Change, Changes, names
from hpml.tuning.changes import any_trainer
from hpml.tuning.changes.batch_size import STEP
from hpml.tuning.changes.configuration import changes_of
from hpml.tuning.changes_to_try import changes_to_try
from hpml.tuning.checks import check_also, check_budget, first_step
from hpml.tuning.earlier_rounds import Rounds, identity, identity_of, read_rounds
from hpml.tuning.epoch_validation import EpochValidation, epoch_validation
from hpml.tuning.final_comparison import Afresh
from hpml.tuning.fresh_trials import FreshTrials
from hpml.tuning.search import Search
from hpml.tuning.seldom_acts import timeable
from hpml.tuning.trials_with_changes import Foreign, Ours, Trials, Tunable

DIAGNOSIS_SHARE = 0.15
# Seconds of a trial.
LEAST_TRIAL_S, MOST_TRIAL_S, OF_BUDGET = 0.15, 1.5, 1 / 500
Report = Callable[[str], None]


@dataclass(eq=False)
class Tuner:
    """Finds the changes that make a job's epoch shortest, within some seconds."""

    subject: Subject
    job: Tunable
    offer: Callable[[], list[Change]]  # what may be changed, once the job was looked at
    budget_s: float
    report: Report
    facts: JobFacts | None = None
    also: frozenset[str] = frozenset()  # names of changes that may alter the training
    skipped: dict[Change, str] = field(default_factory=dict)  # why it was not raced
    same: dict[Change, Sameness] = field(default_factory=dict)
    together: Sameness | None = None  # what was chosen, all together
    validation: Any = None  # the loaders for it that `fit` would get
    checks: EpochValidation = field(default_factory=EpochValidation)
    # processes of its own for the final comparison
    afresh: Callable[[Trials], Afresh] | None = None
    earlier: Callable[[], Rounds] = dict  # of a search that this one resumes, once a fit was tried
    identity: Callable[[], dict[str, Any]] = dict  # what the job is

    def __post_init__(self) -> None:
        if self.subject.agreement.rank:
            self.report = lambda line: None

    def run(self) -> Tuning:
        """Searches, and proves what was found. Several ranks call this together."""
        with self.subject.agreement.interruptible():
            return self._run()

    def _run(self) -> Tuning:
        until_ns = time.perf_counter_ns() + self.budget_s * NS_PER_S
        agreement = self.subject.agreement

        def left_s() -> float:
            return agreement.first((until_ns - time.perf_counter_ns()) / NS_PER_S)

        subject, offered, earlier = self.subject, self.offered(), agreement.of_first(self.earlier)
        experiment = Experiment(subject, self.facts, DIAGNOSIS_SHARE * self.budget_s, self.report)
        try:
            diagnosis = self._diagnosed(experiment)
            trials, search = self._planned(diagnosis, offered, earlier, left_s)
        except (KeyboardInterrupt, RunInterrupted):
            diagnosis, no_trial = experiment.diagnosis(), cast(Any, None)
            if not diagnosis.gains:
                raise
            nothing = Search(no_trial, [], left_s, self.budget_s, was_interrupted=True)
            return self._answer(diagnosis, nothing)
        with subject.stops:
            search.run()
        self.skipped |= why_not_taken(search)
        return self._answer(diagnosis, search, trials.checkpoints(not search.was_interrupted))

    def _diagnosed(self, experiment: Experiment) -> Diagnosis:
        """What limits the job: by the rounds before the one in which it fails as it is."""
        try:
            return diagnosing.run([experiment])[0]
        except Exception as error:
            if not {AS_IT_IS, LOADER_ALONE} <= experiment.paces.keys():
                raise
            why = reason(error) + place(error)
            self.subject.notes.append(f"the diagnosis ended early: the job failed ({why})")
            return experiment.diagnosis()

    def _planned(
        self,
        diagnosis: Diagnosis,
        offered: Iterable[Change],
        earlier: Rounds,
        left_s: Callable[[], float],
    ) -> tuple[Trials, Search]:
        """The search among the changes that may help, and the trials that it makes."""
        subject, agreement = self.subject, self.subject.agreement
        wanted_s = min(MOST_TRIAL_S, max(LEAST_TRIAL_S, OF_BUDGET * self.budget_s))
        more = diagnosis.epoch_s(AS_IT_IS).mean, wanted_s, self.facts is not None, self.also
        self.checks = epoch_validation(subject, self.validation, *more)
        every = [*offered, *self.checks.changes]
        changes = changes_to_try(every, diagnosis, self.checks.seconds, self.also, self.skipped)
        first, alone = (diagnosis.paces[trial][0] for trial in (AS_IT_IS, LOADER_ALONE))
        period, changes = timeable(changes, subject, first.step_s, self.skipped)
        reference = Reference(subject)
        if changes:
            self.report(f"{counted(len(changes), 'change')}, raced until one is proven to help")
        workers = agreement.first(subject.data.num_workers)
        checked = self.checks.timed, self.checks.proving
        trials = Trials(self.job, wanted_s, first, alone, workers, *checked, period)
        return trials, Search(
            trials,
            changes,
            left_s,
            self.budget_s,
            self.report,
            may_choose=partial(self._may_be_chosen, reference),
            watch=watched(subject.witness, attrgetter("pace.waiting_share"), agreement.every),
            measured=self._measured_earlier(changes, earlier),
            proving=trials.whole,
            afresh=self.afresh(trials) if self.afresh else None,
            leave_ends=trials.leave_ends,
        )

    def _answer(self, diagnosis: Diagnosis, search: Search, notes: Sequence[str] = ()) -> Tuning:
        return Tuning(
            diagnosis=diagnosis,
            search=search,
            skipped=self.skipped,
            same=self.same,
            together=self.together,
            notes=[*self.subject.notes, *notes],
            epoch_steps=self.subject.epoch_steps,
            job=self.identity(),
            environment=environment.describe(self.subject.device.type),
            is_ours=self.facts is not None,
            checks=self.checks,
        )

    def _measured_earlier(
        self, changes: Iterable[Change], earlier: Rounds
    ) -> Measurements[Changes, Timed]:
        """The rounds of each change alone, and of the job as it is, that are of the same kind."""
        measured: Measurements[Changes, Timed] = Measurements()
        for of in (NONE, *(frozenset({change}) for change in changes)):
            for number, timed in earlier.get(names(of), {}).items():
                if bool(timed.checks_s) == (self.checks.timed is not None):
                    measured.add(of, number, timed)
        return measured

    def close(self) -> None:
        """Lets go of copies, batches, workers, and of the group in which ranks agree."""
        self.job.close()
        self.subject.agreement.close()

    def offered(self) -> list[Change]:
        """What may be changed, once a step has shown what the job is like.

        Raises UserError where that step fails, and for a name in `also` that is none of theirs.
        """
        first_step(self.subject)
        every = self.subject.agreement.tried(self.offer)[0]
        changes = [c for c in every if not c.only_asked or c.is_asked_for(self.also)]
        known = [change.name for change in changes]
        slots = {slot for change in every for slot in change.slots if change.only_asked}
        slots |= {VALIDATION} if checks_an_epoch(self.subject.trainer) else set()
        slots.discard(STEP)
        if unknown := sorted(self.also.difference(known, slots)):
            key = "also" if self.facts is None else "tune.also"
            there = ", ".join([*known, *sorted(slots)])
            raise UserError(f"{key}: {unknown[0]!r} is no change of this job; there are {there}")
        return changes

    def _may_be_chosen(self, reference: Reference, changes: Changes) -> bool:
        """Whether a job with changes computes the same, or they are to be taken all the same.

        What it computes then is kept, with why one is not chosen.
        """
        alone = next(iter(changes)) if len(changes) == 1 else None
        try:
            same = self._compared(changes, reference)
        except Exception as error:
            if alone:
                self.skipped[alone] = f"could not be tried ({first_line(error)})"
            else:
                self.subject.notes.append(f"all together could not be tried ({first_line(error)})")
            return False
        is_asked_for = any(each.redraws or each.is_asked_for(self.also) for each in changes)
        may = same.kind != DIFFERENT or is_asked_for
        if alone:
            self.same[alone] = same
        if alone and not may:
            self.skipped[alone] = f"the training computes something else: {same.in_words}"
        elif may and not alone:
            self.together = same
        return may

    def _compared(self, changes: Changes, reference: Reference) -> Sameness:
        subject, intervention = self.job.with_changes(changes)
        fewer_bits = any(change.fewer_bits for change in changes)
        return reference.compare(subject, intervention, fewer_bits)


def tune(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: Any,
    budget_s: float,
    also: Sequence[str],
    report: Report,
    validation: Any = None,
    resume: str | Path | None = None,
) -> Tuning:
    """Finds what makes a training faster: see `hpml.tune`; `validation` are loaders for that."""
    check_budget(budget_s)
    check_also(also)
    subject = Subject(trainer, module, data, agreement_of)
    cores = any_trainer.cores_of(subject.agreement)
    offer = partial(any_trainer.changes_of, subject, cores)

    def recalled() -> Rounds:
        if resume is None:
            return {}
        machine = environment.describe(subject.device.type)
        return read_rounds(Path(resume).expanduser(), identity_of(subject), machine, "resume")

    tuner = Tuner(
        subject,
        Foreign(subject),
        offer,
        budget_s,
        report,
        also=frozenset(also),
        validation=validation,
        earlier=recalled,
        identity=partial(identity_of, subject),
    )
    with closing(tuner), subject.agreement:
        if subject.agreement.rank == 0:
            warn_of_others(subject.witness)
        return tuner.run()


def tuner_of(cfg: DictConfig, overrides: Sequence[str], report: Report) -> Tuner:
    """Tuner of a configuration's job; to be closed."""
    begun, all_begun = time.perf_counter(), environment.is_one_of_several()
    job = prepare(cfg)
    own_s = time.perf_counter() - begun  # without the start of other ranks, which comes now
    subject = subject_of(job, agreement_of)
    agreement = subject.agreement
    if all_begun and agreement.rank == 0:  # else it was told before the others began
        warn_of_others(subject.witness)
    start_s = agreement.first(own_s)
    ours = Ours(cfg, subject, lambda config: subject_of(prepare(config), lambda _: agreement))
    threads, cores = torch.get_num_threads(), any_trainer.cores_of(agreement)
    also = [cfg.tune.also] if isinstance(cfg.tune.also, str) else cfg.tune.also or ()
    check_also(also, "tune.also")
    return Tuner(
        subject=subject,
        job=ours,
        offer=lambda: changes_of(job, threads, cores, agreement.ranks),
        budget_s=cfg.tune.budget_s,
        report=report,
        facts=job.facts(overrides),
        also=frozenset(also),
        identity=partial(identity, cfg),
        afresh=lambda trials: FreshTrials(ours, trials, start_s, agreement),
    )
