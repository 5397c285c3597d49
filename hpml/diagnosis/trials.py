"""Which trials there are, how long each is, and in which order they run."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

import lightning as L

from hpml.callbacks.trainer_facts import facts_of_trainer
from hpml.diagnosis.ceiling import ceiling_flops_per_s, flops_per_step
from hpml.diagnosis.diagnosis import AS_IT_IS, Diagnosis
from hpml.formatting import counted, duration_in_words
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import NS_PER_S
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace
from hpml.trials.subject import Subject

INTERVENTIONS = {
    AS_IT_IS: Intervention(),
    "loading_free": Intervention(loading=True),
    "transfer_free": Intervention(transfer=True),
    "compute_free": Intervention(compute=True),
    "hooks_free": Intervention(hooks=True),
    "host_alone": Intervention(loading=True, compute=True),
    "loop_alone": Intervention(loading=True, transfer=True, compute=True, hooks=True),
}
LOADER_ALONE = "loader_alone"
BUDGET_S = 40.0
# As many as there is time for: short trials in many rounds tell more than long ones in few.
ROUNDS = (10, 5, 3)
FEWEST_STEPS, ENOUGH_STEPS, MOST_STEPS = 2, 5, 400
# The part of the budget for leaving out each callback in turn, where there are several.
CALLBACKS_SHARE = 0.25
PILOT_BATCHES = 3
# A step of which every one more is a cost; what host and hooks take of it is looked at once.
SLOW_S = 0.2
# What callbacks and hooks take of a step for it to be worth while to try each of them.
WORTH_A_LOOK = 0.03
MOST_CALLBACKS = 8


def diagnose(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: Any = None,
    budget_s: float = BUDGET_S,
    say: Callable[[str], None] = print,
) -> Diagnosis:
    """Proves where the time of a training goes: see `hpml.diagnose`."""
    with closing(Subject(trainer, module, data)) as subject:
        return run([Trials(subject, None, budget_s, say)])[0]


def run(jobs: Sequence["Trials"]) -> list[Diagnosis]:
    """Diagnoses jobs side by side: a round of each, and then the next one.

    On a machine that has become slower than it was at first, there are fewer rounds.
    """
    begun_ns = time.perf_counter_ns()
    for trials in jobs:
        trials.prepare()
    rounds = min(trials.rounds for trials in jobs)
    budget_s = sum(trials.rounds_budget_s for trials in jobs)
    for number in range(rounds):
        for trials in jobs:
            trials.run_round(number)
        took_s = (time.perf_counter_ns() - begun_ns) / NS_PER_S
        if took_s > budget_s and number + 1 >= ROUNDS[-1]:
            break
    for trials in jobs:
        trials.try_callbacks()
    return [trials.concluded() for trials in jobs]


class Trials:
    """The trials of one job, in rounds: each of them once before any again.

    A machine that grows busy then slows all alike, and what a change saves is the difference
    within a round.

    Args:
        subject: the job.
        setting: what the advice has to know of it; None for what Trainer and loader tell.
        budget_s: how long all trials may take; a slow job takes longer, for it needs a few steps.
        say: told what is going on.
    """

    def __init__(
        self,
        subject: Subject,
        setting: JobFacts | None,
        budget_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.subject = subject
        self._setting = setting
        self.paces: defaultdict[str, list[Pace]] = defaultdict(list)
        self._budget_s = budget_s
        self._say = say
        self._dropped: set[str] = set()
        self.rounds = ROUNDS[-1]
        self._warm_up = self._steps = FEWEST_STEPS
        self._ahead = 0  # batches that workers keep ready

    def prepare(self) -> None:
        """Looks how fast the job is, and decides on the length of a trial."""
        subject = self.subject
        subject.keep_batches(PILOT_BATCHES, seed=0)
        step_s, around_s = 0.0, 0.0
        for number in range(2):  # the first one meets what happens once in a process
            if number and step_s > SLOW_S:
                break
            begun = time.perf_counter_ns()
            pace = subject.fit(Intervention(), 1, FEWEST_STEPS, seed=0)
            took_s = (time.perf_counter_ns() - begun) / NS_PER_S
            step_s, around_s = pace.step_s, max(0.0, took_s - (FEWEST_STEPS + 2) * pace.step_s)
        self._warm_up = 1 if step_s > SLOW_S else 3
        if step_s > SLOW_S and subject.device.type == "cpu":
            with suppress(Exception):  # which this very trial will tell
                host = subject.fit(
                    Intervention(loading=True, compute=True), 1, FEWEST_STEPS, seed=0
                )
                if host.step_s < WORTH_A_LOOK * step_s:
                    self._dropped |= {"transfer_free", "hooks_free"}
        # optimizers step once in a while
        whole = subject.trainer.accumulate_grad_batches
        if ahead := subject.batches_ahead():
            self._ahead = ahead
            alone = subject.load(self._warm_up, FEWEST_STEPS + ahead, seed=0)
            step_s = max(step_s, alone.step_s)  # which the first steps of a fit do not show
            if alone.step_s > (pace.step_s - pace.wait_s) / 2:
                # else the workers are ahead all the time; these finish in bursts
                self._warm_up += ahead
                whole = math.lcm(whole, subject.num_workers)
        self.rounds, steps = self._chosen_rounds(step_s, around_s)
        self._steps = -(-min(MOST_STEPS, max(FEWEST_STEPS, steps)) // whole) * whole
        if self._steps > PILOT_BATCHES:
            subject.keep_batches(self._steps, seed=0)
        what = f"{self.rounds} rounds of {counted(self._in_a_round, 'trial')}"
        seconds = self.rounds * self._in_a_round * (around_s + self._steps_s(step_s))
        self._say(f"{what}: {duration_in_words(seconds)} at most")

    def _chosen_rounds(self, step_s: float, around_s: float) -> tuple[int, int]:
        """The most rounds whose trials have enough steps in the budget; else the fewest."""
        steps = 0
        for rounds in ROUNDS:
            trial_s = self.rounds_budget_s / (rounds * self._in_a_round) - around_s
            steps = int(trial_s / step_s) - self._warm_up if step_s else MOST_STEPS
            if steps >= ENOUGH_STEPS:
                return rounds, steps
        return ROUNDS[-1], steps

    def run_round(self, number: int) -> None:
        """Each trial once."""
        if number and self.subject.batches_vary:  # which the job's own order gives in each round
            self.subject.keep_batches(self._steps, number)
        for name in self._names():
            self._try(name, INTERVENTIONS[name], number)
        # else the first batches, which the workers had ready, would tell how fast they are
        warm_up, steps = max(self._warm_up, self._ahead), max(self._steps, self._ahead)
        self.paces[LOADER_ALONE].append(self.subject.load(warm_up, steps, number))

    def try_callbacks(self) -> None:
        """Each callback left out in turn, where callbacks, loggers and hooks cost anything."""
        until_ns = time.perf_counter_ns() + CALLBACKS_SHARE * self._budget_s * NS_PER_S
        names = self._callbacks()
        diagnosis = self.diagnosis()
        saved = diagnosis.saved_s("hooks_free")
        if saved is None or saved.mean < WORTH_A_LOOK * diagnosis.epoch_s(AS_IT_IS).mean:
            return
        if beyond := self.subject.callback_names[len(names) :]:
            self.subject.notes.append(f"not tried one by one: {', '.join(beyond)}")
        for number in range(ROUNDS[0]):
            if number >= ROUNDS[-1] and time.perf_counter_ns() > until_ns:
                return
            self._try("with_all", Intervention(), number)
            for name in names:
                self._try(f"without_{name}", Intervention(without=name), number)

    def diagnosis(self) -> Diagnosis:
        """What the trials so far say."""
        return Diagnosis(
            paces=dict(self.paces),
            epoch_steps=self.subject.epoch_steps,
            trial_steps=self._steps,
            setting=self._setting or facts_of_trainer(self.subject.trainer, self.subject.loader),
            notes=list(self.subject.notes),
        )

    def concluded(self) -> Diagnosis:
        """What all trials say, with the machine's ceiling beside it."""
        diagnosis = self.diagnosis()
        subject = self.subject
        diagnosis.flops_per_step = flops_per_step(subject)
        if diagnosis.flops_per_step is not None:
            precision = str(subject.trainer.precision)
            with suppress(RuntimeError):  # a GPU that is full
                diagnosis.ceiling_flops_per_s = ceiling_flops_per_s(subject.device, precision)
        return diagnosis

    @property
    def rounds_budget_s(self) -> float:
        """The part of the budget that is not for the callbacks' trials."""
        return self._budget_s * (1 - CALLBACKS_SHARE if self._callbacks() else 1)

    @property
    def _in_a_round(self) -> int:
        """Trials, with the loader's."""
        return len(self._names()) + 1

    def _steps_s(self, step_s: float) -> float:
        return (self._warm_up + self._steps + 1) * step_s

    def _callbacks(self) -> list[str]:
        return [] if "hooks_free" in self._dropped else self.subject.callback_names[:MOST_CALLBACKS]

    def _names(self) -> list[str]:
        """Of the trials that can tell something of this job."""
        names = list(INTERVENTIONS)
        if not self.subject.has_transfer:
            names.remove("transfer_free")
        if not self.subject.has_hooks:
            names.remove("hooks_free")
        return [name for name in names if name not in self._dropped]

    def _try(self, name: str, change: Intervention, number: int) -> None:
        if name in self._dropped:
            return
        try:
            pace = self.subject.fit(change, self._warm_up, self._steps, number)
        except Exception as error:
            if change in (Intervention(), Intervention(loading=True)):
                raise
            # the module or a callback needs what was taken out
            self._dropped.add(name)
            self.paces.pop(name, None)
            told = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            self.subject.notes.append(f"{name.replace('_', ' ')} could not be tried ({told})")
            return
        self.paces[name].append(pace)
