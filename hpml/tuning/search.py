"""The search: changes race beside the job as it is, the best are combined, idle ones taken back.

Each stage races what could still be added to the changes that are chosen, by the rule of
`hpml.tuning.racing`; the one is chosen that may be, and than which none that is left looks better.
Proven is what an interval says that holds whenever one looks, at a level divided by the number of
changes; where time is too short for it, what looks best is chosen. The final comparison, of
`hpml.tuning.final_comparison`, measures again what is chosen in the end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hpml.formatting import counted
from hpml.statistics import LEVEL, AnytimeEstimate
from hpml.system.signals import RunInterrupted
from hpml.trials.interference_watch import Watch, unwatched
from hpml.trials.pace import Timed
from hpml.trials.rounds import FEWEST_ROUNDS, Measurements
from hpml.tuning.change import NONE, Change, Changes, added, in_order, names, together
from hpml.tuning.final_comparison import Afresh, Proof, Trial, epoch
from hpml.tuning.racing import (
    SEEMS,
    Gains,
    best_of,
    by_promise,
    front_of,
    harmful_of,
    idlest_of,
    in_words,
    may_gain,
    mean_of,
    pairs_of,
    plainer,
    proven_of,
    seeming_of,
)
from hpml.tuning.timed_rounds import TimedRounds

# Rounds of a race; once all changes had FEWEST_ROUNDS, those alone go on that look best, and for
# longer where one still seems to bring much.
MOST_ROUNDS, LONGEST = 10, 100

Report = Callable[[str], None]


@dataclass(eq=False)
class Search:
    """Finds the changes that make an epoch shortest, within a budget.

    `left_s` tells what is left of it; the changes that promise most come first, and where trials
    are slow the last ones are left out. `measured` may hold the rounds of an earlier search, to
    which this one adds.
    """

    trial: Trial
    changes: Sequence[Change]
    left_s: Callable[[], float]
    budget_s: float
    report: Report = lambda line: None
    # whether changes may be chosen together; asked of each one that is proven to help, before it
    # is chosen, and in the end of all
    may_choose: Callable[[Changes], bool] = lambda changes: True
    watch: Watch[Timed] = unwatched
    measured: Measurements[Changes, Timed] = field(default_factory=Measurements)
    proving: Trial | None = None  # trials of whole epochs, for the final comparison
    afresh: Afresh | None = None  # and such of fresh processes
    leave_ends: Callable[[str], None] | None = None  # has both do without an epoch's ends
    chosen: Changes = NONE
    alone: dict[Change, AnytimeEstimate] = field(default_factory=dict)  # gains, as logarithms
    taken_back: dict[Change, AnytimeEstimate] = field(default_factory=dict)
    # what was chosen in turn, and what was chosen then
    steps: list[tuple[Change, Changes]] = field(default_factory=list)
    left_out: list[Change] = field(default_factory=list)  # for want of time
    unlike: list[Change] = field(default_factory=list)  # all together would compute something else
    was_interrupted: bool = False
    is_raced: bool = False  # whether there was time for FEWEST_ROUNDS of the first race
    rounds_had: int = 0  # of the first race, those that had the job and each change

    def __post_init__(self) -> None:
        more = self.watch, self.afresh, self.leave_ends
        self.proof = Proof(self.proving or self.trial, self.left_s, self.budget_s, *more)
        self._admitted: dict[Change, bool] = {}
        self._parts: dict[Change, tuple[Change, Change]] = {}  # of two that race as one
        of_rounds = self.trial, self.measured, self.watch, self.left_s
        self.rounds = TimedRounds(*of_rounds, lambda: self._reserve_s)

    def run(self) -> None:
        """Searches and proves; Ctrl-C ends it with what is known so far."""
        try:
            if self._begins():
                self._choose()
            self._choose_what_seems()
            self._take_back()
            self._drop_until_same()
            self._prove()
        except (KeyboardInterrupt, RunInterrupted):
            self.was_interrupted = True
        self.alone = {change: gain for change, gain in self._alone(self.changes).items() if gain}

    @property
    def gain(self) -> AnytimeEstimate | None:
        """Of all changes that are chosen: the logarithm of how many times as fast, as proven."""
        return self.proof.measured.gain(NONE, self.chosen, self.proof.quantity, LEVEL)

    def gain_of(self, over: Changes, of: Changes) -> AnytimeEstimate | None:
        """The same of the search's rounds, at the level of one of many."""
        return self.measured.gain(over, of, epoch, LEVEL / max(1, len(self.changes)))

    def _alone(self, changes: Iterable[Change]) -> dict[Change, AnytimeEstimate | None]:
        return {change: self.gain_of(NONE, frozenset({change})) for change in changes}

    def _gains(self, rivals: Mapping[Change, Changes]) -> dict[Change, AnytimeEstimate | None]:
        return {change: self.gain_of(self.chosen, of) for change, of in rivals.items()}

    def company(self, change: Change) -> AnytimeEstimate | None:
        """What one of the changes that are chosen brings beside the others."""
        return self.gain_of(self.chosen - {change}, self.chosen)

    def _begins(self) -> bool:
        """Whether the job can be tried; leaves out changes for which there is no time."""
        if not self.changes or not self.rounds.run([NONE]):
            return False
        with suppress(Exception):  # which the final comparison will report
            self.proof.look(self.rounds.trial_s)
        new = by_promise(self.changes, self._alone(self.changes))
        if out := new[(count := self._count(FEWEST_ROUNDS)) :]:
            self.left_out = out
            self.report(f"time for {count} of {counted(len(new), 'change')}")
        self.is_raced = not new
        return True

    @property
    def _affordable(self) -> list[Change]:
        return [change for change in self.changes if change not in self.left_out]

    def _count(self, rounds: int) -> int:
        """Changes that there is time for, in so many rounds."""
        trials = (self.left_s() - self._reserve_s) / max(rounds * self.rounds.trial_s, 1e-9)
        return max(0, int(trials) - 1)

    def _choose(self) -> None:
        harmful, taken_in = set[Change](), list[Change]()  # which race by themselves
        while True:
            rivals = {
                change: added(self.chosen, change)
                for change in taken_in or self._affordable
                if change not in self.chosen | harmful and self._admitted.get(change, True)
            }
            best = self._race(rivals) if rivals else None
            harmful |= {c for c, of in rivals.items() if of in self.measured.failures}
            gains = self._gains(rivals)
            few = by_promise([c for c in rivals if c in taken_in and c not in harmful], gains)
            few = [c for c in few if not gains[c] or self._goes_on(gains[c], rivals[c])]
            self.left_out += [change for change in few if change != best]
            taken_in = []
            if best is not None:
                harmful |= harmful_of(gains, best)
                self._chose([(best, rivals[best])])
            elif not self._exchange() and not (taken_in := self._taken_in()):
                return

    def _taken_in(self) -> list[Change]:
        """Changes that were left out and have time after all, where nothing helps that had some."""
        if self.chosen or self._is_late or self.rounds.why_ended:
            return []
        count = self._count(FEWEST_ROUNDS)
        if taken := self.left_out[:count]:
            self.left_out = self.left_out[count:]
            self.report(f"time for {counted(len(taken), 'more change')} after all")
        return taken

    def _choose_what_seems(self) -> None:
        """Where nothing is proven, but something seems to help: the final comparison tells."""
        if self.chosen or self.rounds.why_ended:
            return
        seem = filter(self._is_admitted, seeming_of(self._alone(self._affordable)))
        if (best := next(seem, None)) is not None:
            self._chose([(best, frozenset({best}))])

    def _exchange(self) -> bool:
        """Chooses two at once that are proven to bring more than what was chosen in one slot."""
        may = [c for c in self._affordable if self._admitted.get(c, True)]
        self._parts = {together(*pair): pair for pair in pairs_of(self.chosen, self._alone(may))}
        rivals = {c: added(added(self.chosen, a), b) for c, (a, b) in self._parts.items()}
        best = self._race(rivals) if rivals else None
        if best is None:
            return False
        other, idle = self._parts[best]
        self._chose([(other, rivals[best]), (idle, rivals[best])])
        return True

    def _chose(self, steps: list[tuple[Change, Changes]]) -> None:
        self.steps += steps
        self.chosen = steps[-1][1]
        self.report(f"chosen: {names(self.chosen)}")

    def _race(self, rivals: dict[Change, Changes]) -> Change | None:
        """The change that is proven to bring most beside those that are chosen."""
        running = dict(rivals)
        begun = self.measured.next_round
        gains = self._gains(running)
        for number in range(LONGEST):
            front = front_of(running, gains)
            is_open = number < MOST_ROUNDS or any(mean_of(gains[each]) > SEEMS for each in front)
            if not front or not is_open or self._is_late:
                break
            if not (ran := self.rounds.run([self.chosen, *front.values()])):
                break
            gains = self._gains(running)
            known = {c: gain.n for c, gain in gains.items() if gain is not None}
            failed = {c for c, of in running.items() if of in self.measured.failures}
            is_whole = running.keys() == known.keys() | failed
            running = {c: of for c, of in running.items() if self._goes_on(gains[c], of)}
            if not self.is_raced:
                running = self._in_time(running, gains, FEWEST_ROUNDS - 1 - number)
                had = min((known[c] for c in running), default=FEWEST_ROUNDS)
                self.rounds_had = had if is_whole else 0
                self.is_raced = self.rounds_had >= FEWEST_ROUNDS
            proven = proven_of(gains)
            self.report(in_words(begun + number, len(ran - {self.chosen}), gains))
            if number + 1 < FEWEST_ROUNDS:
                continue
            # the one that looks best, once that is proven to help
            while (leader := best_of(running, gains)) in proven:
                plain = plainer(leader, proven)
                if self._is_admitted(plain):
                    return plain
                del running[plain], proven[plain]
        return self._leader(rivals)

    def _in_time(
        self, running: dict[Change, Changes], gains: Gains, rounds: int
    ) -> dict[Change, Changes]:
        """Without those that look worst, where there is no time for so many rounds of all."""
        best = by_promise(running, gains)
        if not 0 < (count := self._count(rounds)) < len(best):
            return running
        self.left_out += best[count:]
        self.report(f"time for more rounds of {count} of {counted(len(best), 'change')}")
        return {change: of for change, of in running.items() if change not in best[count:]}

    def _leader(self, rivals: dict[Change, Changes]) -> Change | None:
        gains = self._gains(rivals)
        proven = sorted(proven_of(gains), key=lambda change: -mean_of(gains[change]))
        return next(filter(self._is_admitted, proven), None)

    def _is_admitted(self, change: Change) -> bool:
        if change in self._parts:
            return all(map(self._is_admitted, self._parts[change]))
        if change not in self._admitted:
            self._admitted[change] = self.may_choose(frozenset({change}))
        return self._admitted[change]

    def _goes_on(self, gain: AnytimeEstimate | None, changes: Changes) -> bool:
        if changes in self.measured.failures or gain is None:
            return False
        return may_gain(gain, self.measured.log_ratios(self.chosen, changes, epoch))

    def _take_back(self) -> None:
        """Takes changes back, one by one, that bring nothing in company."""
        while len(self.chosen) > 1:
            chosen = in_order(self.chosen)  # the same one on each rank, as that of no set is
            without = {change: self.chosen - {change} for change in chosen}
            for _ in range(FEWEST_ROUNDS):
                if self._is_late:
                    return
                self.rounds.run([self.chosen, *without.values()])
            company = {c: g for c in chosen if (g := self.company(c)) is not None}
            if (least := idlest_of(company)) is None:
                return
            self.taken_back[least] = company[least]
            self.chosen -= {least}
            self.report(f"taken back, for it brings nothing beside the others: {least.name}")

    def _drop_until_same(self) -> None:
        """Of changes that may not be chosen together the last ones go."""
        while len(self.chosen) > 1 and not self.may_choose(self.chosen):
            last = next(change for change, _ in reversed(self.steps) if change in self.chosen)
            self.chosen -= {last}
            self.unlike.append(last)
            self.report(f"taken back, for all together compute something else: {last.name}")

    def _prove(self) -> None:
        if not self.chosen:
            return
        self.report(f"the job as it is beside: {names(self.chosen)}")
        self.proof.run(self.chosen, self.rounds.trial_s)

    @property
    def _is_late(self) -> bool:
        return self.left_s() < self._reserve_s

    @property
    def _reserve_s(self) -> float:
        """For the final comparison."""
        return self.proof.reserve_s(self.rounds.trial_s)
