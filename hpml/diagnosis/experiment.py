"""Which trials a diagnosis has, how long each is, and in which order they run."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from hpml.callbacks.trainer_facts import facts_of_trainer
from hpml.diagnosis.ceiling import ceiling_flops_per_s, flops_per_step
from hpml.diagnosis.interventions import INTERVENTIONS
from hpml.diagnosis.late_rank import BY_ITSELF, DOES, by_itself
from hpml.diagnosis.measured_trials import Key, Measured, keep, measure
from hpml.diagnosis.trial_figures import AS_IT_IS, CAUSES, LOADER_ALONE, ONE_THREAD
from hpml.diagnosis.waiting_loader import seconds_of, take_apart_if_waiting
from hpml.diagnosis.wording import Diagnosis
from hpml.errors import UserError
from hpml.formatting import counted, duration_in_words
from hpml.records.phases import COMMUNICATION
from hpml.system.other_programs import warn_of_others
from hpml.timing.advice import UNKNOWN, JobFacts
from hpml.timing.epoch_times import NS_PER_S
from hpml.training.prepare import prepare
from hpml.trials.candidates import candidates_of
from hpml.trials.checks import is_seconds
from hpml.trials.intervention import Intervention
from hpml.trials.pace import FEWEST_STEPS, SLOW_S, Pace, Pilot
from hpml.trials.ranks_agreement import agreement_of
from hpml.trials.resting_callbacks import intervals
from hpml.trials.rounds import Candidate, Measurements, within
from hpml.trials.subject import Subject, subject_of
from hpml.trials.trainer import accumulated

# As many as there is time for, of these: short trials in many rounds tell more than long in few.
ROUNDS = range(20, 2, -1)
MOST_ROUNDS = 1000  # where they have not answered, and time is left
# Steps that warm up, and as many measured ones as are enough; and where a step takes longer.
STEPS, LONG_STEPS, LONG_S, MOST_STEPS = (3, 5), (1, 3), 0.02, 400
# The part of the budget for leaving out each callback in turn, where there are several.
CALLBACKS_SHARE = 0.25
RANKS_SHARE = 0.25  # and for each rank by itself, where there are several
PILOT_BATCHES = 3
# What taking the loader apart may take of the time of all rounds, and seconds that it has anyway.
APART_SHARE, LEAST_APART_S = 1 / 4, 2.0
# One thread is tried where a look at it may take so much of the budget, with a step as many times
# slower as there are threads; it is dropped where that step is so many times as slow as it is.
LOOK_SHARE, HOPELESS = 0.25, 2.0
# What callbacks and hooks take of a step for it to be worth while to try each of them.
WORTH_A_LOOK, MOST_CALLBACKS = 0.03, 8
Report = Callable[[str], None]  # is called with a line on what is going on


class Experiment(Measured):
    """Diagnoses a subject.

    Args:
        facts: for the advice; None for what Trainer and loader have of them.
        budget_s: seconds for all trials; a slow job takes longer, for it needs a few steps.
        report: is told what goes on; of several ranks that of the first one.
    """

    def __init__(
        self, subject: Subject, facts: JobFacts | None, budget_s: float, report: Report
    ) -> None:
        super().__init__(subject)
        self.facts, self.budget_s = facts, budget_s
        self.report = report if subject.agreement.rank == 0 else lambda line: None
        self.round_s: float | None = None  # of the budget
        self.ended_early = False  # the rounds, for the case was clear
        self.rounds = ROUNDS[-1]  # as many as there is time for, once it is prepared
        self._warm_up = self._steps = FEWEST_STEPS
        self._ahead, self._step_s = 0, 0.0  # batches; seconds of a step, as it is
        self._threads = subject.agreement.first(torch.get_num_threads())
        self._names = subject.agreement.united(subject.callback_names)
        self._waits = False  # for data, more than for anything else, as it looks at first

    def prepare(self) -> None:
        """Looks how fast the job is, and decides on the length of a trial."""
        subject = self.subject
        subject.keep_batches(PILOT_BATCHES, seed=0)
        facts = self.facts or facts_of_trainer(subject.trainer, subject.data.loader)
        self.facts = subject.agreement.first(facts)  # gains are told by them, and all decide by it
        for _ in range(2):  # the first one meets what happens once in a process
            begun_ns = time.perf_counter_ns()
            fit = subject.fit(Intervention(), 1, FEWEST_STEPS, seed=0)
            took_s = subject.agreement.first(_since_s(begun_ns))
            around_s = max(0.0, took_s - (FEWEST_STEPS + 2) * fit.step_s)
            if is_slow := fit.step_s > SLOW_S:
                break
        least, enough = LONG_STEPS if fit.step_s > LONG_S else STEPS
        if is_slow and subject.device.type == "cpu":
            with suppress(Exception):  # which this very trial will report
                host = subject.fit(INTERVENTIONS["host_alone"], 1, FEWEST_STEPS, seed=0)
                if host.step_s < WORTH_A_LOOK * fit.step_s:
                    self.dropped |= {"transfer_free", "hooks_free"}
        if ONE_THREAD in self._interventions and not self._may_gain_alone(fit):
            self.dropped.add(ONE_THREAD)
        processes = subject.loading()
        self._ahead = ahead = processes.ahead
        loading = subject.load(least, FEWEST_STEPS + ahead, seed=0) if ahead else None
        pilot = Pilot(fit, loading, ahead)
        self._step_s = pilot.step_s
        self._warm_up = pilot.warm_up(least)
        self._waits = pilot.waits or fit.waiting_share > 0.5
        # optimizers step once in a while, and workers finish in bursts
        whole = accumulated(subject.trainer)
        if pilot.waits:
            whole = math.lcm(whole, processes.workers)
        trials = len(self._interventions) + 1
        enough = -(-enough // whole) * whole
        for rounds in ROUNDS:  # the most whose trials have enough steps in the budget
            trial_s = self.rounds_budget_s / (rounds * trials) - around_s
            steps = int(trial_s / pilot.step_s) - self._warm_up if pilot.step_s else MOST_STEPS
            if steps >= enough:
                break
        steps = -(-min(MOST_STEPS, max(FEWEST_STEPS, steps)) // whole) * whole
        self.rounds, self._steps = subject.agreement.first((rounds, steps))
        if self._steps > PILOT_BATCHES:
            subject.keep_batches(self._steps, seed=0)
        trial_s = around_s + (self._warm_up + self._steps + 1) * pilot.step_s
        seconds = duration_in_words(self.rounds * trials * trial_s)
        self.report(f"{self.rounds} rounds of {counted(trials, 'trial')}: {seconds} at most")

    def _may_gain_alone(self, fit: Pace) -> bool:
        """Whether one thread may be faster than all, as a look at one step of it shows."""
        steps, threads = 3, self._threads
        if steps * fit.step_s * threads > LOOK_SHARE * self.budget_s:
            self.notes.append(f"one thread instead of {threads} was not tried: it may take long")
            return False
        alone = self.subject.fit(INTERVENTIONS[ONE_THREAD], 1, 1, seed=0)
        return alone.step_s <= HOPELESS * fit.step_s

    def candidates(self) -> dict[Key, Candidate[Pace]]:
        """The trials of a round, once it is prepared."""
        fits = self._fits(self._interventions)
        # else the first batches, which the workers had ready, would tell how fast they are
        warm_up, steps = max(self._warm_up, self._ahead), max(self._steps, self._ahead)
        fits[self, LOADER_ALONE] = lambda number: self.subject.load(warm_up, steps, number)
        return fits

    def _fits(self, interventions: Mapping[str, Intervention]) -> dict[Key, Candidate[Pace]]:
        of = self.subject, interventions, self._warm_up, self._steps, self._step_s
        return {(self, name): trial for name, trial in candidates_of(*of).items()}

    def try_callbacks(self) -> None:
        """Each callback left out in turn, where callbacks, loggers and hooks cost anything."""
        names = self._callbacks
        diagnosis = self.diagnosis()
        saved = diagnosis.saved_s("hooks_free")
        if saved is None or saved.mean < WORTH_A_LOOK * diagnosis.epoch_s(AS_IT_IS).mean:
            return
        if beyond := self._names[len(names) :]:
            self.notes.append(f"not tried one by one: {', '.join(beyond)}")
        without = {f"without_{name}": Intervention(without=name) for name in names}

        def known(measured: Measurements[Key, Pace]) -> bool:
            keep(measured)
            return self.diagnosis().knows_callbacks

        seconds, least = CALLBACKS_SHARE * self.budget_s, ROUNDS[-1]
        stop = within(seconds, least, least, known, limit=ROUNDS[0])
        measured = measure(self._fits({"with_all": Intervention(), **without}), stop)
        self.note(f"callbacks one by one: {note}" for note in measured.notes)

    def try_ranks(self) -> None:
        """Each rank by itself, with each cost taken out, where one of them keeps others waiting."""
        if not self.diagnosis().may_be_late:
            return
        apart = {BY_ITSELF: Intervention(communication=True)}
        for trial in (CAUSES[cause] for cause in DOES if CAUSES[cause] in self.paces):
            apart[by_itself(trial)] = replace(INTERVENTIONS[trial], communication=True)

        def known(measured: Measurements[Key, Pace]) -> bool:
            keep(measured)
            return self.diagnosis().knows_ranks

        least = ROUNDS[-1]
        stop = within(RANKS_SHARE * self.budget_s, least, least, known, limit=ROUNDS[0])
        measured = measure(self._fits(apart), stop)
        self.note(f"each rank by itself: {note}" for note in measured.notes)

    def diagnosis(self) -> Diagnosis:
        subject = self.subject
        return Diagnosis(
            paces=dict(self.paces),
            epoch_steps=subject.epoch_steps,
            trial_steps=self._steps,
            facts=replace(self.facts or UNKNOWN, intervals=intervals(subject.callbacks)),
            notes=[*subject.notes, *self.notes],
            interference=self.seen.get(AS_IT_IS),
            round_s=self.round_s,
            ended_early=self.ended_early,
            places=subject.agreement.places,
        )

    def concluded(self) -> Diagnosis:
        """What all trials show, with the machine's ceiling beside it."""
        diagnosis, subject = self.diagnosis(), self.subject
        diagnosis.flops_per_step = flops_per_step(subject, diagnosis.notes)
        with suppress(RuntimeError):  # a GPU that is full
            if diagnosis.flops_per_step is not None:
                precision = str(subject.trainer.precision)
                diagnosis.ceiling_flops_per_s = ceiling_flops_per_s(subject.device, precision)
        took_s = diagnosis.rounds * (self.round_s or math.inf)
        seconds = min(seconds_of(self.budget_s), max(LEAST_APART_S, APART_SHARE * took_s))
        diagnosis.loader = take_apart_if_waiting(diagnosis, subject, seconds)
        if (late := diagnosis.late) is not None:  # whose data set may be another one
            diagnosis.loader = subject.agreement.every(diagnosis.loader)[late.rank]
        return diagnosis

    @property
    def rounds_budget_s(self) -> float:
        """The part of the budget that is not for callbacks, ranks or the loader by themselves."""
        others = CALLBACKS_SHARE if self._callbacks else 0.0
        others += RANKS_SHARE if self.subject.agreement.ranks > 1 else 0.0
        return (1 - others) * self.budget_s - (seconds_of(self.budget_s) if self._waits else 0.0)

    @property
    def _callbacks(self) -> list[str]:
        return [] if "hooks_free" in self.dropped else self._names[:MOST_CALLBACKS]

    @property
    def _interventions(self) -> dict[str, Intervention]:
        """Those that can show something of this job. All ranks ask for them."""
        subject, agreement = self.subject, self.subject.agreement
        shows = {"hooks_free": agreement.any(subject.has_hooks)}
        shows["transfer_free"] = all(agreement.every(subject.has_transfer))
        shows[CAUSES[COMMUNICATION]] = agreement.ranks > 1
        shows[ONE_THREAD] = subject.device.type == "cpu" and self._threads > 1
        return {
            name: intervention
            for name, intervention in INTERVENTIONS.items()
            if shows.get(name, True) and name not in self.dropped
        }


def run(experiments: Sequence[Experiment]) -> list[Diagnosis]:
    """Diagnoses jobs side by side: a round of each, and then the next one.

    There are fewer rounds than planned where a lone job's case is clear, or the machine has become
    slower than it was; more where time is left, and these have not answered or were disturbed.
    """

    def answered(measured: Measurements[Key, Pace]) -> bool:
        keep(measured)
        diagnoses = [experiment.diagnosis() for experiment in experiments]
        if measured.next_round - len(measured.disturbed) < planned:
            experiments[0].ended_early = len(diagnoses) == 1 and diagnoses[0].is_clear
            return experiments[0].ended_early
        return all(diagnosis.is_answered for diagnosis in diagnoses)

    begun_ns, agreement = time.perf_counter_ns(), experiments[0].subject.agreement
    with ExitStack() as stack:
        stack.enter_context(agreement.interruptible())
        for experiment in experiments:
            stack.enter_context(experiment.subject.stops)
            experiment.prepare()
        budget_s = sum(experiment.rounds_budget_s for experiment in experiments)
        left_s = budget_s - _since_s(begun_ns)
        planned = min(experiment.rounds for experiment in experiments)
        every = {key: trial for each in experiments for key, trial in each.candidates().items()}
        begun_ns = time.perf_counter_ns()
        measured = measure(every, within(left_s, ROUNDS[-1], ROUNDS[-1], answered, MOST_ROUNDS))
        rounds_s, counting = _since_s(begun_ns), measured.next_round - len(measured.left_out)
        for experiment in experiments:
            experiment.ended_early = agreement.first(experiment.ended_early)  # by whose clock
            experiment.note(measured.notes)
            experiment.round_s = rounds_s / counting * experiment.budget_s / budget_s
            experiment.try_ranks()
            experiment.try_callbacks()
        return [experiment.concluded() for experiment in experiments]


def diagnose(
    trainer: L.Trainer, module: L.LightningModule, data: Any, budget_s: float, report: Report
) -> Diagnosis:
    """Proves where the time of a training goes: see `hpml.diagnose`."""
    if not is_seconds(budget_s):
        raise UserError(f"budget_s={budget_s!r}: give seconds, more than 0")
    with closing(Subject(trainer, module, data, agreement_of)) as subject, subject.agreement:
        if subject.agreement.rank == 0:
            warn_of_others(subject.witness)
        return run([Experiment(subject, None, budget_s, report)])[0]


def experiment_of(cfg: DictConfig, overrides: Sequence[str], report: Report) -> Experiment:
    """Experiment with a configuration's job; its subject is to be closed."""
    job = prepare(cfg)
    return Experiment(
        subject_of(job, agreement_of), job.facts(overrides), cfg.diagnose.budget_s, report
    )


def _since_s(begun_ns: int) -> float:
    return (time.perf_counter_ns() - begun_ns) / NS_PER_S
