"""What a search for workers has found: seconds of each count, and which of them are enough."""

import math
from collections.abc import Collection
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from hpml.statistics import LEVEL, AnytimeEstimate, Estimate
from hpml.trials.pace import Timed
from hpml.trials.rounds import FEWEST_ROUNDS, LEAST_GAIN, Measurements
from hpml.worker_counts.answer_in_doubt import disturbed_by

LOADING, EPOCH = FIGURES = "loading_s", "epoch_s"  # by the loader alone, and by the training
AGAIN = "again_s"  # the training of one setting, once more in the same round
MOST_MISSED = 0.1  # a gain that may be larger is looked for
SPAN = "an epoch"  # what the seconds are of, unless no length is known
seconds_of = attrgetter("epoch_s")


class SearchResult(Measurements[tuple[str, Any], Timed]):
    """Seconds of an epoch with each setting, mostly numbers of workers: both figures.

    `span` tells what they are of where no epoch has a known length, `took_s` what the search took.
    """

    span = SPAN
    took_s = 0.0
    had_time = False  # when its rounds were over
    was_interrupted = False
    twice: Any = None  # the setting that trains twice in a round

    @property
    def settings(self) -> list[Any]:
        return list(dict.fromkeys(setting for _, setting in self.by_name))

    @property
    def rounds(self) -> int:
        """Of the setting that has fewest; what trains twice in a round has no others."""
        return min(len(of) for (figure, _), of in self.by_name.items() if figure in FIGURES)

    @property
    def failed(self) -> dict[Any, str]:
        """Why a setting was dropped."""
        return {setting: why for (_, setting), why in self.failures.items()}

    def keep_whole(self) -> None:
        """Forgets a setting that failed, or of which one figure was measured alone."""
        failed = self.failed
        for setting in self.settings:
            is_whole = all((figure, setting) in self.by_name for figure in FIGURES)
            if setting in failed or not is_whole:
                for figure in (*FIGURES, AGAIN):
                    self.drop((figure, setting))

    @property
    def tied_loading(self) -> list[Any]:
        """The settings that load fastest: the best one, and those that may be as fast."""
        names = [(LOADING, setting) for setting in self.settings]
        tied = self.tied_among(names, seconds_of, LEAST_GAIN)
        return sorted(setting for _, setting in tied)

    @property
    def tied(self) -> list[Any]:
        """The settings that no other one is proven to train faster than."""
        least = math.log(1 + LEAST_GAIN)

        def is_beaten(setting: Any) -> bool:
            gains = (self.epoch_gain(setting, each) for each in self.settings if each != setting)
            return any(gain is not None and gain.low > least for gain in gains)

        return sorted(each for each in self.settings if not is_beaten(each))

    def beating(self, now: Any) -> list[Any]:
        """Those of the tied ones that are proven to train faster than the one that is set `now`,
        and would be without what others took from that one.
        """
        if now not in self.settings:
            return []
        gains = {each: self.epoch_gain(now, each) for each in self.tied if each != now}
        taken = self.taken_from((EPOCH, now))
        own = 1 - taken.share if taken is not None and taken.disturbed else 1.0
        return [
            each
            for each, gain in gains.items()
            if gain is not None and own * math.exp(gain.low) > 1 + LEAST_GAIN
        ]

    @property
    def is_answered(self) -> bool:
        """Whether the first of those that are tied is surely not much slower than any of them, and
        others on the machine cannot have made that so.
        """
        return not self._open and not self.disturbed_by

    @property
    def _open(self) -> list[AnytimeEstimate | None]:
        """The gains over the first of those that are tied which may be large."""
        first, *others = self.tied
        gains = [self.epoch_gain(first, other) for other in others]
        most = math.log(1 + MOST_MISSED)
        return [gain for gain in gains if gain is None or gain.high >= most]

    @property
    def disturbed_by(self) -> str:
        """What others took, in words, where they may have made the answer; nothing where not."""
        return disturbed_by(self._judged)

    @property
    def needed(self) -> float | None:
        """How many times its rounds may answer, as intervals narrow with the root of the rounds'
        number: by them a gain is proven large, or small, whichever takes fewer.

        None where it is answered, or left open by what others took alone.
        """
        least, most = math.log(1 + LEAST_GAIN), math.log(1 + MOST_MISSED)
        times = []
        for gain in self._open:
            if gain is not None:
                rounds = float(FEWEST_ROUNDS)
                if gain.half_width is not None:
                    to_reach = max(most - gain.mean, gain.mean - least)
                    rounds = gain.n * (gain.half_width / to_reach) ** 2
                times.append(max(gain.n + 1, rounds) / gain.n)
        return max(times, default=None)

    @property
    def needed_s(self) -> float | None:
        """The same as seconds; None where it is not known how long it took, too."""
        needed = self.needed
        return needed * self.took_s if needed is not None and self.took_s > 0 else None

    @property
    def best_loading(self) -> Any:
        """The setting whose loader alone is fastest: what the lab asks for."""
        return self.fastest(LOADING, self.tied_loading)

    @property
    def best_training(self) -> Any:
        """The one of those tied end to end that looks fastest."""
        return self.fastest(EPOCH, self.tied)

    def fastest(self, figure: str, settings: Collection[Any]) -> Any:
        """The one that is, in rounds in common, be it by chance."""
        return self.fastest_of([(figure, each) for each in settings], seconds_of)[1]

    @property
    def apart(self) -> Estimate | None:
        """What epochs of the same setting, twice in a round, differ by; None for one such round."""
        again = AGAIN, self.twice
        if again not in self.by_name:
            return None
        apart = self.saved((EPOCH, self.twice), again, seconds_of)
        return None if apart.half_width is None else apart

    def of(self, figure: str, setting: Any) -> Estimate:
        return self.estimate((figure, setting), seconds_of)

    def epoch_gain(self, over: Any, setting: Any) -> AnytimeEstimate | None:
        """The logarithm of how many times as fast an epoch is, at the level of one of many."""
        level = LEVEL / max(1, len(self.settings) - 1)
        return self.gain((EPOCH, over), (EPOCH, setting), seconds_of, level)

    def as_dict(self) -> dict[str, Any]:
        apart = self.apart
        return {
            "answered": self.is_answered,
            "interrupted": self.was_interrupted,
            "failed": {str(setting): why for setting, why in self.failed.items()},
            "span": self.span,
            "best_loading": self.best_loading,
            "tied_loading": self.tied_loading,
            "floor_s": apart and apart.floor,
            "needed_s": self.needed_s,
            "notes": self.notes,
        } | self._judged

    @property
    def _judged(self) -> dict[str, Any]:
        """What of it shows whether others made the answer."""
        return {
            "tied": self.tied,
            "disturbed_rounds": sorted(self.disturbed),
            "settings": {
                str(setting): {figure: asdict(self.of(figure, setting)) for figure in FIGURES}
                | {"rounds": self._rounds(setting)}
                for setting in sorted(self.settings)
            },
        }

    def _rounds(self, setting: Any) -> dict[int, dict[str, Any]]:
        """The figures of each round, and what others took from the training."""
        rounds: dict[int, dict[str, Any]] = {}
        for figure in (*FIGURES, AGAIN):
            for number, timed in self.by_name.get((figure, setting), {}).items():
                seen = self.seen.get(number, {}).get((EPOCH, setting))
                row = rounds.setdefault(number, dict.fromkeys(FIGURES))
                row |= {figure: timed.epoch_s, "interference": seen and seen.as_dict()}
        return rounds
