"""Finds the number of workers by measuring: counts to try, when to stop, and the answers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil, sqrt
from operator import attrgetter
from statistics import median
from typing import Any

from hpml.formatting import counted, in_s, table
from hpml.statistics import Estimate
from hpml.system.interference import Interference
from hpml.trials.rounds import Measurements, after_rounds, run_round, run_rounds, without_gain

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
    """Seconds that an epoch takes: to load alone, and to train, end to end."""

    loading_s: float
    epoch_s: float
    holds_epoch: bool = False  # the workers load all of it ahead: more would have nothing to do
    interference: Interference | None = None  # as the measuring process saw it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"interference": self.interference and self.interference.as_dict()}


def told(measure: Callable[[], Measured]) -> tuple[Measured, Interference | None]:
    """For rounds of processes that see for themselves what others take from them."""
    measured = measure()
    return measured, measured.interference


Measure = Callable[[int], Measured]
# In these figures counts are compared.
QUANTITIES = loading, epoch = attrgetter("loading_s"), attrgetter("epoch_s")


class Timed(Measurements[Any, Measured]):
    @property
    def tied_loading(self) -> list[Any]:
        """The settings that load fastest: the best one, and those that may be as fast."""
        return sorted(self.tied_in(loading, LEAST_GAIN))

    @property
    def tied(self) -> list[Any]:
        """The same of the settings that train fastest, end to end."""
        return sorted(self.tied_in(epoch, LEAST_GAIN))

    @property
    def best_loading(self) -> Any:
        """The setting whose loader alone is fastest: what the lab asks for."""
        return self.fastest_in(loading)

    @property
    def floor_s(self) -> float | None:
        """What two epochs of one setting differ by, as means over rounds; None for one round."""
        halves = [self.estimate(name, epoch).half_width for name in self.by_name]
        known = [half for half in halves if half is not None]
        return sqrt(2) * median(known) if known else None

    def lines(self, heading: str) -> list[str]:
        """A table; an asterisk marks the fastest, and what is tied with it."""
        columns = tuple(zip(QUANTITIES, (self.tied_loading, self.tied), strict=True))
        rows = [[heading, "loading alone", "end to end"]]
        for name in sorted(self.by_name):
            marked = ((each, "* " if name in tied else "  ") for each, tied in columns)
            times = [in_s(self.estimate(name, each)) + mark for each, mark in marked]
            rows.append([str(name), *times])
        caption = "  seconds of an epoch, without validation"
        caption += "; * fastest, or tied with it" if self.rounds > 1 else "; one round"
        told = [f"  {note}" for note in self.notes]
        if self.floor_s is not None:
            floor = in_s(Estimate(self.floor_s, None, 1))
            told.append(
                f"  two epochs of one setting differ by ± {floor}, as means over the rounds"
            )
        return [*table(rows, ">>>"), caption, *told]

    def as_dict(self) -> dict[str, Any]:
        return {
            "tied": self.tied,
            "best_loading": self.best_loading,
            "tied_loading": self.tied_loading,
            "floor_s": self.floor_s,
            "disturbed_rounds": sorted(self.disturbed),
            "notes": self.notes,
            "settings": {
                str(setting): {
                    "loading_s": asdict(self.estimate(setting, loading)),
                    "epoch_s": asdict(self.estimate(setting, epoch)),
                    "rounds": {n: each.as_dict() for n, each in self.by_name[setting].items()},
                }
                for setting in sorted(self.by_name)
            },
        }


class Found(Timed):
    @property
    def recommended(self) -> int:
        """The fewest workers that are tied with the fastest, end to end."""
        return int(min(self.tied))

    def sentences(self, now: int) -> list[str]:
        """Both answers, and what the recommended count saves beside the one that is set now."""
        best, fewest, fastest = self.best_loading, self.recommended, self.fastest_in(epoch)
        loading_s, epoch_s = self.estimate(best, loading), self.estimate(fewest, epoch)
        as_fast = [count for count in self.tied_loading if count != best]
        tied = [count for count in self.tied if count not in (fewest, fastest)]
        enough = "fastest" if fewest == fastest else f"enough: tied with {fastest}"
        sentences = [
            f"by loading alone {_workers(best)} fastest, {in_s(loading_s)} an epoch"
            f"{_tied_with(as_fast)}",
            f"end to end {_workers(fewest)} {enough}, {in_s(epoch_s)} an epoch of training"
            f"{_tied_with(tied)}",
        ]
        noise = (epoch_s.half_width or 0.0) / epoch_s.mean
        if noise > NOISY:
            sentences.append(
                f"that is known to ± {noise:.0%} only: other work on this machine? Search again "
                "when it is quiet"
                + (f", or with workers.rounds={self._needed(noise)}" if self.rounds > 1 else "")
            )
        if self.rounds == 1:
            sentences.append("one round is too few to tell a difference from chance")
        if now != fewest and now in self.by_name:
            gain = self.saved(now, fewest, epoch)
            share = gain.mean / self.estimate(now, epoch).mean
            sure = gain.half_width is not None and gain.mean > gain.half_width
            doubt = "" if sure else ", which may be chance"
            saves = "saves" if gain.mean >= 0 else "costs"
            size = f"{in_s(abs(gain))} an epoch ({abs(share):.0%})"
            sentences.append(f"beside {KEY}={now} that {saves} {size}{doubt}")
        return sentences

    def _needed(self, noise: float) -> int:
        """The rounds that would narrow an interval to NOISY: with the root of their number."""
        return ceil(self.rounds * (noise / NOISY) ** 2)

    def as_dict(self) -> dict[str, Any]:
        answers = {"recommended": self.recommended, "override": f"{KEY}={self.recommended}"}
        return answers | super().as_dict()


def counts_to_try(cores: int, step: int, most: int | None = None) -> Iterator[int]:
    """From 0 upwards: always 1, every count up to the cores of a small machine, then in steps.

    The last one is `most`; without it MOST, or twice the cores.
    """
    every = range(2, cores + 1) if cores <= SMALL_MACHINE else ()
    if most is None:
        most = max(MOST, 2 * cores)
    first = (0, 1, *every)
    yield from (count for count in first if count <= most)
    yield from range(step * (first[-1] // step + 1), most + 1, step)


def search(
    measure: Measure, counts: Iterator[int], rounds: int, report: Callable[[str], None]
) -> Found:
    """Measures counts until two in a row bring no gain, and all of them again in each round.

    The first round goes upwards until neither the loader alone nor the whole step has got faster
    by LEAST_GAIN for two counts. If all rounds together then show a gain in the last two beyond
    its interval, it goes on upwards, with what is tied so far measured beside the new ones. A count
    that loads a whole epoch ahead is the last one.

    Each count is measured so many `rounds`, and as many more as were disturbed, but no more than
    twice as many; `report` gets a line for each measurement.
    """
    found = Found()

    def candidate(count: int) -> tuple[int, Measure]:
        return count, lambda number: measure(count)

    def tell(count: int, number: int, measured: Measured) -> None:
        times = [in_s(Estimate(s, None, 1)) for s in (measured.loading_s, measured.epoch_s)]
        report(
            f"round {number + 1}: {counted(count, 'worker')}: loading alone {times[0]}, "
            f"end to end {times[1]} an epoch"
        )

    while True:
        begun = found.next_round
        best = sorted({found.best_loading, *found.tied}) if begun else []
        tried = run_round(
            map(candidate, counts), found, begun, tell, enough=_no_more_use(), watch=told
        )
        if not tried:
            return found
        run_round(map(candidate, best), found, begun, tell, watch=told)
        again = dict(map(candidate, [*best, *tried]))
        stop = after_rounds(begun + rounds, again=rounds, begun=begun)
        run_rounds(again, stop, tell, measured=found, watch=told)
        last = set(tried[-FRUITLESS:])
        ahead = last.issuperset(found.tied_loading) or last.issuperset(found.tied)  # after all
        if len(tried) < FRUITLESS or _holds_epoch(found) or not ahead:
            return found


def _no_more_use() -> Callable[[Measurements[Any, Any]], bool]:
    fruitless = without_gain(QUANTITIES, LEAST_GAIN, FRUITLESS)
    return lambda measured: fruitless(measured) or _holds_epoch(measured)


def _holds_epoch(found: Measurements[int, Measured]) -> bool:
    """Whether the last count that was tried loads a whole epoch ahead."""
    return any(each.holds_epoch for each in list(found.by_name.values())[-1].values())


def _workers(count: int) -> str:
    return f"{counted(count, 'worker')} {'is' if count == 1 else 'are'}"


def _tied_with(others: Sequence[int]) -> str:
    return f"; tied with it: {', '.join(map(str, others))}" if others else ""
