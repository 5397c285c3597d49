"""The final comparison: the job as it is beside the job with all that was chosen.

Nothing was chosen by its rounds, so the gain that is claimed comes from these alone. They are of
fresh processes, where a job can be started in one and there is time for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from hpml.statistics import LEVEL, AnytimeEstimate
from hpml.trials.interference_watch import Watch, unwatched
from hpml.trials.pace import Timed
from hpml.trials.rounds import FEWEST_ROUNDS, Candidate, Measurements, Quantity, run_round
from hpml.tuning.change import NONE, Changes, names

MOST_ROUNDS = 16
# The gain is known well enough once its interval is so narrow, as a part of the time that is left.
NARROW = 0.1
# What is kept of the budget for it, for fresh processes at most, and how far beyond it may go.
SHARE, MOST_AFRESH, BEYOND_SHARE = 0.25, 1 / 3, 0.1
MEMORY = "out of memory"  # which this process may hold
A_TRAINERS = "a Trainer of your own cannot be started in another one"
# FEWEST_ROUNDS of whole epochs may take such a part of the budget, or so many times as long as the
# search's trials; else their ends are left out.
MOST_WHOLE, MOST_TIMES = 0.5, 1.5

Trial = Callable[[Changes], Candidate[Timed]]
epoch = attrgetter("epoch_s")


def _without_ends(timed: Timed) -> float:
    return timed.epoch_s - timed.once_s


class Afresh(Protocol):
    """Trials of a job, each in a process of its own."""

    def __call__(self, changes: Changes) -> Candidate[Timed]: ...

    def begin(self, chosen: Changes) -> str:
        """Has what all of them need imported, once; why there can be none, in words.

        Nor with what was chosen: what fails in one then is the job.
        """

    @property
    def watch(self) -> Watch[Timed]: ...

    def round_s(self, trial_s: float) -> float:
        """Seconds that a round of two takes, about, where a trial takes so many."""


@dataclass(eq=False)
class Proof:
    """Rounds of two: as it is, and with what was `chosen`; `left_s` tells what is left of a budget.

    `afresh` is None for a job that no other process can make.
    """

    trial: Trial
    left_s: Callable[[], float]
    budget_s: float
    watch: Watch[Timed] = unwatched
    afresh: Afresh | None = None
    # has the trials of whole epochs do without their ends from now on, for a reason, in words
    leave_ends: Callable[[str], None] | None = None
    measured: Measurements[Changes, Timed] = field(default_factory=Measurements)
    chosen: Changes = NONE
    why_here: str = A_TRAINERS  # it is made in this process, in words; empty where it is not
    whole_s: float = 0.0  # what a trial of a whole epoch takes, where that was looked at
    looked_s: float = 0.0  # what that has taken
    was_repeated: bool = False  # what was chosen has failed once in a fresh process
    was_cut: bool = False  # there was no time for FEWEST_ROUNDS, so that nothing is proven

    @property
    def gain(self) -> AnytimeEstimate | None:
        """The logarithm of how many times as fast a whole epoch is, or one without its ends."""
        return self.measured.gain(NONE, self.chosen, self.quantity, LEVEL)

    @property
    def left_out(self) -> str:
        """Why an epoch lacks its ends, in all trials; empty where it is a whole one."""
        every = [timed for rounds in self.measured.by_name.values() for timed in rounds.values()]
        return next((timed.left_out for timed in every if timed.left_out), "")

    @property
    def quantity(self) -> Quantity[Timed]:
        return _without_ends if self.left_out else epoch

    def look(self, trial_s: float) -> None:
        """Sees how long a trial takes, where one of the search takes so long; has it do without an
        epoch's ends where these take too long.

        A first one may import what a checkpoint needs: then a second one decides.
        """
        if self.leave_ends is None:
            return
        most_s = max(MOST_WHOLE * self.budget_s / (2 * FEWEST_ROUNDS), MOST_TIMES * trial_s)
        took_s = self._looked_s()
        if most_s < took_s <= 2 * most_s:
            took_s = self._looked_s()
        if took_s > most_s:
            rounds_s = 2 * FEWEST_ROUNDS * took_s
            self.leave_ends(f"{FEWEST_ROUNDS} rounds with them would take {rounds_s:.0f} s")
            self._looked_s()

    def _looked_s(self) -> float:
        """Seconds of one trial, which time is kept for."""
        begun_s = self.left_s()
        self.trial(NONE)(0)
        self.whole_s = begun_s - self.left_s()
        self.looked_s += self.whole_s
        return self.whole_s

    def reserve_s(self, trial_s: float) -> float:
        """What it may need of the budget, where a trial of the search takes so long."""
        trial_s = max(trial_s, self.whole_s)
        here_s = max(SHARE * self.budget_s, 2 * FEWEST_ROUNDS * trial_s)
        needed_s = self._needed_s(trial_s)
        return max(here_s, needed_s) if needed_s <= MOST_AFRESH * self.budget_s else here_s

    def run(self, chosen: Changes, trial_s: float) -> None:
        """Until the gain is known well, or the time is over; before FEWEST_ROUNDS it `was_cut`.

        Where one of the two fails there is no gain: what was chosen has to work in a process that
        has it from its start, by the second try at least. Where the job as it is fails in a fresh
        one, or memory is short that this process holds, rounds are made here.
        """
        self.chosen, trial_s = chosen, max(trial_s, self.whole_s)
        if self.afresh is not None:
            self.why_here = self._tried_afresh(trial_s)
        while self.measured.next_round < MOST_ROUNDS and not self.fails:
            self._round()
            if self._repeats():
                continue
            if not self.why_here and self._failed:
                self.why_here, self.measured = self._failed, Measurements()
                continue
            gain, rounds = self.gain, self.measured.next_round
            if gain is None or self._left_s < 0:
                self.was_cut = rounds < FEWEST_ROUNDS and not self.measured.failures
                return
            narrow = gain.half_width is not None and gain.half_width < math.log1p(NARROW)
            if rounds >= FEWEST_ROUNDS + narrow and (narrow or self.left_s() <= 0):
                return

    def _tried_afresh(self, trial_s: float) -> str:
        """Makes the first round of fresh processes; why there can be no others, in words."""
        needed_s, had_s = self._needed_s(trial_s), self._left_s
        why = ""
        if self.afresh is not None and needed_s <= had_s:
            if why := self.afresh.begin(self.chosen):
                return why
            self.why_here, had_s = "", self._left_s
            self._round()
            if self._repeats():
                return ""
            why = self._failed
            needed_s = FEWEST_ROUNDS * (had_s - self._left_s)  # as this one took
        if needed_s > had_s:
            why = why or f"{FEWEST_ROUNDS} rounds of fresh ones would take {needed_s:.0f} s"
        if why:
            self.measured = Measurements()
        return why

    @property
    def fails(self) -> bool:
        """Whether the job fails with what was chosen, and not as it is."""
        return self.measured.failures.keys() == {self.chosen} and not self._failed

    def _repeats(self) -> bool:
        """Begins anew where what was chosen has failed in a fresh process, but once."""
        if not self.fails or self.why_here or self.was_repeated:
            return False
        self.was_repeated, self.measured = True, Measurements()
        return True

    @property
    def _failed(self) -> str:
        """Why there are no fresh processes, where one that may not be the changes' fault fails."""
        for changes, why in self.measured.failures.items():
            if not changes or MEMORY in why:
                side = f"with {names(changes)}" if changes else "as it is"
                return f"a fresh one {side} fails ({why})"
        return ""

    @property
    def _left_s(self) -> float:
        """With what it may go beyond the budget."""
        return self.left_s() + BEYOND_SHARE * self.budget_s

    def _needed_s(self, trial_s: float) -> float:
        return FEWEST_ROUNDS * self.afresh.round_s(trial_s) if self.afresh else math.inf

    def _round(self) -> None:
        """In turn one of the two comes first."""
        number = self.measured.next_round
        every = [NONE, self.chosen][:: 1 if number % 2 else -1]
        trial, watch = self.trial, self.watch
        if self.afresh is not None and not self.why_here:
            trial, watch = self.afresh, self.afresh.watch
        candidates = [(of, trial(of)) for of in every]
        run_round(candidates, self.measured, number, optional=every, watch=watch)
