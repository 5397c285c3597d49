"""The rounds of a search: in random order, within its time, and how long their trials take."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from hpml.errors import place, reason
from hpml.trials.interference_watch import Watch
from hpml.trials.pace import Timed
from hpml.trials.rounds import Candidate, Measurements, run_round
from hpml.tuning.change import Changes
from hpml.tuning.final_comparison import Trial


@dataclass(eq=False)
class TimedRounds:
    """What is measured of sets of changes, as long as more time is left than is kept."""

    trial: Trial
    measured: Measurements[Changes, Timed]
    watch: Watch[Timed]
    left_s: Callable[[], float]
    kept_s: Callable[[], float]
    trials_s: list[float] = field(default_factory=list)
    why_ended: str = ""  # what failed of the job as it is, in words; what was measured stays

    @property
    def trial_s(self) -> float:
        """Seconds that a trial takes, with all around it: a median, for some compile at first."""
        return median(self.trials_s) if self.trials_s else 0.0

    def run(self, every: Iterable[Changes]) -> set[Changes]:
        """Makes a round; those that were measured in it, none where the job as it is fails."""
        number = self.measured.next_round
        candidates = [(of, self._timed(self.trial(of))) for of in every]
        # the machine may grow busy within a round: no change is always the last one
        random.Random(number).shuffle(candidates)
        optional, least_s = [of for of, _ in candidates if of], self.kept_s()

        def enough(measured: Any) -> bool:
            return self.left_s() < least_s

        given: Any = {"optional": optional, "enough": enough, "watch": self.watch}
        try:
            return set(run_round(candidates, self.measured, number, **given))
        except Exception as error:
            self.why_ended = reason(error) + place(error)
            return set()

    def _timed(self, trial: Candidate[Timed]) -> Candidate[Timed]:
        """Keeps how long it takes."""

        def measure(number: int) -> Timed:
            begun_s = self.left_s()
            timed = trial(number)
            self.trials_s.append(begun_s - self.left_s())
            return timed

        return measure
