"""The search for a number of workers: counts race in rounds until it is clear which are enough.

Trials and statistics are those of `hpml.tuning`, of changes in one dimension.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from hpml.system.signals import RunInterrupted
from hpml.trials.interference_watch import Watch, unwatched
from hpml.trials.pace import Timed
from hpml.trials.rounds import FEWEST_ROUNDS, LEAST_GAIN, Candidate, run_round, within
from hpml.worker_counts.search_result import AGAIN, EPOCH, FIGURES, SearchResult, seconds_of

FRUITLESS = 2
ENDLESS = 10**9  # rounds, of which the time that is left is the end
LEAST_ROUNDS = 2  # however late it is

Trial = Callable[[str, Any], Candidate[Timed]]  # of a figure, with a setting


@dataclass(eq=False)
class Search:
    """Measures counts until two in a row bring no gain, and then those that may be the answer.

    The first round goes upwards until neither the loader alone nor the whole step has got faster
    by LEAST_GAIN for two counts. If all rounds together then show a gain in the last two, it goes
    on upwards, with what is tied so far measured beside the new ones. A count that loads a whole
    epoch ahead is the last one.

    A count that fails is dropped, and no more of them are tried; the error of the first one, or of
    the last one that is left, is raised.

    In rounds of both figures one setting trains twice, which tells what the same differs by: the
    one that is set `now`, or the first one.

    A race ends once it is clear which counts are enough, or when no time is left, or after so many
    `rounds`, with as many more as were disturbed but no more than twice as many. Ctrl-C ends all
    with what is known by then.
    """

    trial: Trial
    rounds: int = ENDLESS
    left_s: Callable[[], float] = lambda: math.inf
    holds_epoch: Callable[[int], bool] = lambda count: False
    report: Callable[[tuple[str, Any], int, Timed], object] = lambda name, number, timed: None
    watch: Watch[Timed] = unwatched
    found: SearchResult = field(default_factory=SearchResult)
    now: Any = None

    def run(self, counts: Iterator[int]) -> SearchResult:
        """Raises KeyboardInterrupt where no count was measured yet."""
        begun_s = self.left_s()
        try:
            self._search(counts)
        except (KeyboardInterrupt, RunInterrupted):
            self.found.keep_whole()
            if not self.found.settings:
                raise
            self.found.was_interrupted = True
        left_s = self.left_s()
        self.found.took_s, self.found.had_time = begun_s - left_s, left_s > 0
        return self.found

    def _search(self, counts: Iterator[int]) -> None:
        found = self.found
        while True:
            begun = found.next_round
            best = found.tied if begun else []
            tried = self._upwards(counts, begun)
            if not tried:
                return
            self._round(best, begun)
            self._again([*best, *tried], begun)
            self.race([*best, *tried], begun)
            is_last = len(tried) < FRUITLESS or self.holds_epoch(tried[-1])
            if found.failed or is_last or not self._still_gain([*best, *tried]):
                return

    def race(self, settings: Collection[Any], begun: int = 0) -> SearchResult:
        """Rounds of some settings, from that number on; those that are proven slower leave."""
        found = self.found
        whole = begun + min(FEWEST_ROUNDS, self.rounds)

        def enough(_: Any) -> bool:
            quiet = found.next_round - len(found.disturbed)
            return quiet >= begun + self.rounds or found.is_answered

        left_s = self.left_s()
        least = begun + min(LEAST_ROUNDS, self.rounds)
        stop = within(left_s, least, whole, enough, limit=begun + 2 * self.rounds)
        while not (stop(found) or found.failed.keys() >= set(settings)):
            number = found.next_round
            is_whole = number - len(found.disturbed) < whole
            if is_whole:
                self._round(settings, number)
                self._again(settings, number)
            else:
                tied = found.tied
                self._round([each for each in settings if each in tied], number, (EPOCH,))
        return found

    def _upwards(self, counts: Iterator[int], number: int) -> list[int]:
        """Measures counts once, until so many in a row are in no figure below all before them.

        No further than a second round of them would have time for.
        """
        tried: list[int] = []
        fruitless, begun_s = 0, self.left_s()
        for count in counts:
            before = self.found.settings
            self._round([count], number)
            if count in self.found.failed:
                break
            tried.append(count)
            fruitless = 0 if self._gains(count, before) else fruitless + 1
            is_late = self.left_s() < begun_s / 2
            if fruitless == FRUITLESS or is_late or self.holds_epoch(count):
                break
        return tried

    def _gains(self, count: int, before: list[int]) -> bool:
        """Whether a count is below all before it."""
        of = self.found.of
        return not before or any(
            of(figure, count).mean < (1 - LEAST_GAIN) * min(of(figure, b).mean for b in before)
            for figure in FIGURES
        )

    def _still_gain(self, raced: list[int]) -> bool:
        """Whether all rounds of a race show that the last ones are faster than all before."""
        found = self.found
        before, last = raced[:-FRUITLESS], raced[-FRUITLESS:]
        for figure in FIGURES if before else ():
            old, new = ((figure, found.fastest(figure, some)) for some in (before, last))
            gain = found.saved(old, new, seconds_of)
            least_s = LEAST_GAIN * found.estimate(old, seconds_of).mean
            if gain.half_width is not None and gain.mean > max(gain.half_width, least_s):
                return True
        return False

    def _round(
        self, settings: Collection[Any], number: int, figures: Collection[str] = FIGURES
    ) -> None:
        self._measure([(figure, setting) for setting in settings for figure in figures], number)

    def _again(self, settings: Collection[Any], number: int) -> None:
        """The training of one of some settings once more, where another round may follow."""
        found = self.found
        if found.twice not in found.settings:
            left = [each for each in settings if each in found.settings]
            found.twice = self.now if self.now in left else next(iter(left), None)
        if found.twice in settings and self.rounds > 1:
            self._measure([(AGAIN, found.twice)], number)

    def _measure(self, names: Collection[tuple[str, Any]], number: int) -> None:
        """What fails is dropped where another setting is left."""
        found = self.found
        for name in names:
            _, setting = name
            failed = found.failed.keys()
            if setting in failed:
                continue
            others = {*found.settings, *(each for _, each in names)} - failed - {setting}
            optional = [name] if others else []
            candidate = name, self.trial(*name)
            run_round([candidate], found, number, self.report, optional, watch=self.watch)
            if name in found.failures:
                found.keep_whole()
