"""Finds the number of workers by measuring: which counts to try, when to stop, what it says."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from hpml.formatting import counted, in_s
from hpml.statistics import BySeed, Estimate, may_be_best, trimmed_estimate

KEY = "data.num_workers"
# Up to so many usable cores every count is tried.
SMALL_MACHINE = 8
# Beyond so many, and twice the cores, processes cost more memory than they could bring time.
MOST = 32
# A gain below this is none, however exact the measurement.
LEAST_GAIN = 0.02
FRUITLESS = 2
# An interval this wide, as a part of the mean, tells more about the machine than about workers.
NOISY = 0.25


@dataclass(frozen=True)
class Measured:
    """Seconds that an epoch takes: to load alone, and to train, end to end.

    Attributes:
        holds_epoch: the workers load a whole epoch ahead; more of them would have nothing to do.
    """

    loading_s: float
    epoch_s: float
    holds_epoch: bool = False


Measure = Callable[[int], Measured]


class Timed:
    """What was measured of several settings, in rounds.

    Attributes:
        measured: by setting, in the order in which they were tried, and by round.
    """

    def __init__(self) -> None:
        self.measured: dict[Any, dict[int, Measured]] = {}

    def add(self, setting: Any, number: int, one: Measured) -> None:
        """A setting, measured in a round."""
        self.measured.setdefault(setting, {})[number] = one

    def loading_s(self, setting: Any) -> Estimate:
        """Of the loader alone."""
        return _known([one.loading_s for one in self.measured[setting].values()])

    def epoch_s(self, setting: Any) -> Estimate:
        """End to end."""
        return _known([one.epoch_s for one in self.measured[setting].values()])

    @property
    def tied_loading(self) -> list[Any]:
        """The settings that load fastest: the best one, and those that may be as fast."""
        return self._tied(lambda one: one.loading_s)

    @property
    def tied(self) -> list[Any]:
        """The same of the settings that train fastest, end to end."""
        return self._tied(lambda one: one.epoch_s)

    @property
    def best_loading(self) -> Any:
        """The setting whose loader alone is fastest: what the lab asks for."""
        return min(self.measured, key=lambda setting: self.loading_s(setting).mean)

    @property
    def fastest(self) -> Any:
        """The setting whose training is fastest, be it by chance."""
        return min(self.measured, key=lambda setting: self.epoch_s(setting).mean)

    @property
    def rounds(self) -> int:
        """How often each setting was measured, at least."""
        return min(map(len, self.measured.values()))

    def _tied(self, seconds: Callable[[Measured], float]) -> list[Any]:
        """The settings that no other is faster than, by its rounds and by more than LEAST_GAIN.

        Compared are logarithms: slow settings vary by as much in proportion, so by more in seconds.
        """
        times = [
            {number: seconds(one) for number, one in rounds.items()}
            for rounds in self.measured.values()
        ]
        logarithms: list[BySeed] = [
            {n: math.log(max(s, 1e-9)) for n, s in of.items()} for of in times
        ]
        margin = math.log(1 + LEAST_GAIN)
        possible = may_be_best(logarithms, higher_is_better=False, margin=margin)
        return sorted(s for s, best in zip(self.measured, possible, strict=True) if best)

    def lines(self, heading: str) -> list[str]:
        """A table; an asterisk marks the fastest, and what is tied with it."""
        tied_loading, tied = self.tied_loading, self.tied
        rows = [(heading, "loading alone", "end to end")]
        for setting in sorted(self.measured):
            loading, epoch = in_s(self.loading_s(setting)), in_s(self.epoch_s(setting))
            marks = ["* " if setting in best else "  " for best in (tied_loading, tied)]
            rows.append((str(setting), loading + marks[0], epoch + marks[1]))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        told = [
            f"{row[0]:>{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip()
            for row in rows
        ]
        caption = "  seconds of an epoch, without validation"
        caption += "; * fastest, or tied with it" if self.rounds > 1 else "; one round"
        return [*told, caption]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tied": self.tied,
            "best_loading": self.best_loading,
            "tied_loading": self.tied_loading,
            "settings": {
                str(setting): {
                    "loading_s": asdict(self.loading_s(setting)),
                    "epoch_s": asdict(self.epoch_s(setting)),
                    "rounds": {n: asdict(one) for n, one in self.measured[setting].items()},
                }
                for setting in sorted(self.measured)
            },
        }


class Found(Timed):
    """Numbers of workers, measured."""

    @property
    def recommended(self) -> int:
        """The fewest workers that are tied with the fastest, end to end."""
        return int(min(self.tied))

    def gain_s(self, over: int) -> Estimate:
        """Seconds of an epoch that the recommended count saves over another one."""
        slow, fast = self.measured[over], self.measured[self.recommended]
        return _known([slow[n].epoch_s - fast[n].epoch_s for n in slow.keys() & fast.keys()])

    def sentences(self, now: int) -> list[str]:
        """Both answers, and what the recommended count saves beside the one that is set now."""
        best, fewest = self.best_loading, self.recommended
        told = f"by loading alone {_workers(best)} fastest, "
        told += f"{in_s(self.loading_s(best))} an epoch"
        found = [told + _tied_with([n for n in self.tied_loading if n != best])]
        fastest = self.fastest
        told = f"end to end {_workers(fewest)}"
        told += " fastest" if fewest == fastest else f" enough: tied with {fastest}"
        told += f", {in_s(self.epoch_s(fewest))} an epoch of training"
        found.append(told + _tied_with([n for n in self.tied if n not in (fewest, fastest)]))
        noise = (self.epoch_s(fewest).half_width or 0.0) / self.epoch_s(fewest).mean
        if noise > NOISY:
            found.append(
                f"that is known to ± {noise:.0%} only: other work on this machine? Search again "
                "when it is quiet"
            )
        if self.rounds == 1:
            found.append("one round is too few to tell a difference from chance")
        if now != fewest and now in self.measured:
            gain, share = self.gain_s(now), self.gain_s(now).mean / self.epoch_s(now).mean
            sure = gain.half_width is not None and gain.mean > gain.half_width
            doubt = "" if sure else ", which may be chance"
            saves = "saves" if gain.mean >= 0 else "costs"
            size = in_s(Estimate(abs(gain.mean), gain.half_width, gain.n))
            found.append(
                f"beside data.num_workers={now} that {saves} {size} an epoch "
                f"({abs(share):.0%}){doubt}"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        answers = {"recommended": self.recommended, "override": f"{KEY}={self.recommended}"}
        return answers | super().as_dict()


def counts_to_try(cores: int, step: int, most: int | None = None) -> Iterator[int]:
    """From 0 upwards: always 1, every count up to the cores of a small machine, then in steps.

    The last one is `most`; without it MOST, or twice the cores.
    """
    every = range(2, cores + 1) if cores <= SMALL_MACHINE else ()
    if most is None:
        most = max(MOST, 2 * cores)
    yield from (count for count in (0, 1, *every) if count <= most)
    count = max([1, *every])
    while True:
        count = step * (count // step + 1)
        if count > most:
            return
        yield count


def search(
    measure: Measure, counts: Iterator[int], rounds: int, say: Callable[[str], None]
) -> Found:
    """Measures counts until two in a row bring no gain, and all of them again in each round.

    The first round goes upwards until neither the loader alone nor the whole step has got faster
    by LEAST_GAIN for two counts. If all rounds together then show a gain in the last two beyond
    its interval, it goes on upwards, with what is tied so far measured beside the new ones. A count
    that loads a whole epoch ahead is the last one.

    Args:
        measure: one measurement of a count, in a fresh process.
        counts: to try, in this order.
        rounds: how often each is measured.
        say: told each measurement.
    """
    found = Found()
    begun = 0
    while True:
        best = sorted({found.best_loading, *found.tied}) if begun else []
        tried = list(_explore(measure, counts, found, say, begun))
        if not tried:
            return found
        for count in best:
            _measure(measure, count, found, say, begun)
        for number in range(begun + 1, begun + rounds):
            for count in [*best, *tried]:
                _measure(measure, count, found, say, number)
        ends = len(tried) < FRUITLESS or _holds_epoch(found, tried[-1])
        if ends or not _still_gains(found, tried[-FRUITLESS:]):
            return found
        begun += rounds


def _explore(
    measure: Measure,
    counts: Iterator[int],
    found: Found,
    say: Callable[[str], None],
    number: int,
) -> Iterator[int]:
    """Tries counts once each, until FRUITLESS of them in a row bring nothing."""
    fruitless = 0
    for count in counts:
        before = [_means(found, other) for other in found.measured]
        _measure(measure, count, found, say, number)
        yield count
        gains = not before or any(
            new < (1 - LEAST_GAIN) * min(old)
            for new, old in zip(_means(found, count), zip(*before, strict=True), strict=True)
        )
        fruitless = 0 if gains else fruitless + 1
        if fruitless == FRUITLESS or _holds_epoch(found, count):
            return


def _means(found: Found, count: int) -> tuple[float, float]:
    """Mean seconds of an epoch so far: to load, and in all."""
    of = found.measured[count].values()
    return fmean(one.loading_s for one in of), fmean(one.epoch_s for one in of)


def _measure(
    measure: Measure, count: int, found: Found, say: Callable[[str], None], number: int
) -> None:
    one = measure(count)
    found.add(count, number, one)
    say(
        f"round {number + 1}: {counted(count, 'worker')}: loading alone "
        f"{_in_s(one.loading_s)}, end to end {_in_s(one.epoch_s)} an epoch"
    )


def _holds_epoch(found: Found, count: int) -> bool:
    return any(one.holds_epoch for one in found.measured[count].values())


def _still_gains(found: Found, last: list[int]) -> bool:
    """Whether the last counts are ahead of all others after all."""
    return any(set(tied) <= set(last) for tied in (found.tied_loading, found.tied))


def _workers(count: int) -> str:
    """`1 worker is`, `2 workers are`."""
    return f"{counted(count, 'worker')} {'is' if count == 1 else 'are'}"


def _tied_with(others: Sequence[int]) -> str:
    return f"; tied with it: {', '.join(map(str, others))}" if others else ""


def _in_s(seconds: float) -> str:
    return in_s(Estimate(seconds, None, 1))


def _known(values: list[float]) -> Estimate:
    known = trimmed_estimate(values)
    assert known is not None
    return known
