"""The search for a number of workers: counts race in rounds until it is clear which are enough.

Trials and statistics are those of `hpml.tuning`, of changes in one dimension.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from statistics import median
from typing import Any

from hpml.statistics import LEVEL, AnytimeEstimate, Estimate
from hpml.system.signals import RunInterrupted
from hpml.trials.pace import Timed
from hpml.trials.rounds import (
    FEWEST_ROUNDS,
    Candidate,
    Measurements,
    Watch,
    run_round,
    unwatched,
    within,
)

LOADING, EPOCH = FIGURES = "loading_s", "epoch_s"  # by the loader alone, and by the training
# A gain below this is none, however exact the measurement; one that may be larger is looked for.
LEAST_GAIN, MOST_MISSED = 0.02, 0.1
FRUITLESS = 2
ENDLESS = 10**9  # rounds, of which the time that is left is the end
LEAST_ROUNDS = 2  # however late it is
SPAN = "an epoch"  # what the seconds are of, unless no length is known
seconds_of = attrgetter("epoch_s")

Trial = Callable[[str, Any], Candidate[Timed]]  # of a figure, with a setting


class Found(Measurements[tuple[str, Any], Timed]):
    """Seconds of an epoch with each setting, mostly numbers of workers: both figures.

    `span` tells what they are of where no epoch has a known length, `took_s` what the search took.
    """

    span = SPAN
    took_s = 0.0
    was_interrupted = False

    @property
    def settings(self) -> list[Any]:
        return list(dict.fromkeys(setting for _, setting in self.by_name))

    def keep_whole(self) -> None:
        """Forgets a setting of which one figure was measured alone."""
        for setting in self.settings:
            if any((figure, setting) not in self.by_name for figure in FIGURES):
                for figure in FIGURES:
                    self.drop((figure, setting))

    @property
    def tied_loading(self) -> list[Any]:
        """The settings that load fastest: the best one, and those that may be as fast."""
        names = [(LOADING, setting) for setting in self.settings]
        tied = self.tied_among(names, seconds_of, LEAST_GAIN)
        return sorted(setting for _, setting in tied)

    @property
    def tied(self) -> list[Any]:
        """The settings that the one which looks fastest is not proven to train faster than."""
        fastest = self.fastest(EPOCH, self.settings)
        gains = {each: self.epoch_gain(each, fastest) for each in self.settings}
        least = math.log(1 + LEAST_GAIN)
        return sorted(
            each
            for each, gain in gains.items()
            if each == fastest or gain is None or gain.low <= least
        )

    def beating(self, now: Any) -> list[Any]:
        """Those of the tied ones that are proven to train faster than the one that is set `now`."""
        if now not in self.settings:
            return []
        gains = {each: self.epoch_gain(now, each) for each in self.tied if each != now}
        least = math.log(1 + LEAST_GAIN)
        return [each for each, gain in gains.items() if gain is not None and gain.low > least]

    @property
    def is_answered(self) -> bool:
        """Whether the first of those that are tied is surely not much slower than any of them."""
        first, *others = self.tied
        if not others:
            return True
        gains = [self.epoch_gain(first, other) for other in others]
        return all(gain is not None and gain.high < math.log(1 + MOST_MISSED) for gain in gains)

    @property
    def best_loading(self) -> Any:
        """The setting whose loader alone is fastest: what the lab asks for."""
        return self.fastest(LOADING, self.settings)

    def fastest(self, figure: str, settings: Collection[Any]) -> Any:
        """The one of the lowest mean, be it by chance."""
        return self.fastest_of([(figure, each) for each in settings], seconds_of)[1]

    @property
    def floor_s(self) -> float | None:
        """What two epochs of one setting differ by, as means over rounds; None for one round."""
        halves = [self.of(EPOCH, setting).half_width for setting in self.settings]
        known = [half for half in halves if half is not None]
        return math.sqrt(2) * median(known) if known else None

    def of(self, figure: str, setting: Any) -> Estimate:
        return self.estimate((figure, setting), seconds_of)

    def epoch_gain(self, over: Any, setting: Any) -> AnytimeEstimate | None:
        """The logarithm of how many times as fast an epoch is, at the level of one of many."""
        level = LEVEL / max(1, len(self.settings) - 1)
        return self.gain((EPOCH, over), (EPOCH, setting), seconds_of, level)

    def as_dict(self) -> dict[str, Any]:
        return {
            "answered": self.is_answered,
            "interrupted": self.was_interrupted,
            "span": self.span,
            "tied": self.tied,
            "best_loading": self.best_loading,
            "tied_loading": self.tied_loading,
            "floor_s": self.floor_s,
            "disturbed_rounds": sorted(self.disturbed),
            "notes": self.notes,
            "settings": {
                str(setting): {figure: asdict(self.of(figure, setting)) for figure in FIGURES}
                | {"rounds": self._rounds(setting)}
                for setting in sorted(self.settings)
            },
        }

    def _rounds(self, setting: Any) -> dict[int, dict[str, Any]]:
        """Both figures of each round, and what others took from the training."""
        rounds: dict[int, dict[str, Any]] = {}
        for figure in FIGURES:
            for number, timed in self.by_name[figure, setting].items():
                seen = self.seen.get(number, {}).get((EPOCH, setting))
                row = rounds.setdefault(number, dict.fromkeys(FIGURES))
                row |= {figure: timed.epoch_s, "interference": seen and seen.as_dict()}
        return rounds


@dataclass(eq=False)
class Search:
    """Measures counts until two in a row bring no gain, and then those that may be the answer.

    The first round goes upwards until neither the loader alone nor the whole step has got faster
    by LEAST_GAIN for two counts. If all rounds together then show a gain in the last two, it goes
    on upwards, with what is tied so far measured beside the new ones. A count that loads a whole
    epoch ahead is the last one.

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
    found: Found = field(default_factory=Found)

    def run(self, counts: Iterator[int]) -> Found:
        """Raises KeyboardInterrupt where no count was measured yet."""
        begun_s = self.left_s()
        try:
            self._search(counts)
        except (KeyboardInterrupt, RunInterrupted):
            self.found.keep_whole()
            if not self.found.settings:
                raise
            self.found.was_interrupted = True
        self.found.took_s = begun_s - self.left_s()
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
            self.race([*best, *tried], begun)
            is_last = len(tried) < FRUITLESS or self.holds_epoch(tried[-1])
            if is_last or not self._still_gain(tried[-FRUITLESS:]):
                return

    def race(self, settings: Collection[Any], begun: int = 0) -> Found:
        """Rounds of some settings, from that number on; those that are proven slower leave."""
        found = self.found
        whole = begun + min(FEWEST_ROUNDS, self.rounds)

        def enough(_: Any) -> bool:
            quiet = found.next_round - len(found.disturbed)
            return quiet >= begun + self.rounds or found.is_answered

        left_s = self.left_s()
        least = begun + min(LEAST_ROUNDS, self.rounds)
        stop = within(left_s, least, whole, enough, limit=begun + 2 * self.rounds)
        while not stop(found):
            number = found.next_round
            is_whole = number - len(found.disturbed) < whole
            tied = [] if is_whole else found.tied
            self._round(
                [each for each in settings if is_whole or each in tied],
                number,
                FIGURES if is_whole else (EPOCH,),
            )
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

    def _still_gain(self, last: Collection[int]) -> bool:
        """Whether all rounds together show that the last ones are faster than all before."""
        found = self.found
        before = [setting for setting in found.settings if setting not in last]
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
        names = [(figure, setting) for setting in settings for figure in figures]
        candidates = [(name, self.trial(*name)) for name in names]
        run_round(candidates, self.found, number, self.report, watch=self.watch)
