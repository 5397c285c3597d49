"""The rule of a race: which changes go on, which are dropped early, which one is proven to help.

A change is dropped once it is proven to bring less than LEAST_GAIN. It may be chosen once it is
proven to help and looks as if it brought more than that.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from hpml.formatting import counted
from hpml.statistics import AnytimeEstimate
from hpml.trials.rounds import FEWEST_ROUNDS, LEAST_GAIN
from hpml.tuning.change import Change, Changes

Gains = Mapping[Change, AnytimeEstimate | None]  # logarithms of how many times as fast
SEEMS = math.log(1.1)  # a gain that is much, known or not
WIDE = math.log(10)  # an interval that is not worth telling
MOST_PAIRS = 2
SHARED_CORES = frozenset({"threads", "num_workers", "prefetch_factor"})
# Rounds so many times as long as the job as it is rule a change out, a single one if it is longer:
# others may have slowed it.
HOPELESS, HOPELESS_AT_ONCE = 3.0, 10.0


def in_times(gain: AnytimeEstimate | None) -> str:
    """`2.10 (1.92 to 2.31)`; without an interval that tells nothing."""
    if gain is None:
        return ""
    times = f"{math.exp(gain.mean):.2f}"
    if gain.half_width is None or gain.half_width > WIDE:
        return f"{times} (not known)"
    return f"{times} ({math.exp(gain.low):.2f} to {math.exp(gain.high):.2f})"


def front_of(running: Mapping[Change, Changes], gains: Gains) -> dict[Change, Changes]:
    """The changes that are not known yet, of an earlier search or this one.

    Then those that look best, or half as good; the others rest as long as they do not.
    """
    if new := {c: of for c, of in running.items() if not is_known(gains[c])}:
        return new
    best = max((mean_of(gains[change]) for change in running), default=0.0)
    return {c: of for c, of in running.items() if best <= 0 or mean_of(gains[c]) >= best / 2}


def may_gain(gain: AnytimeEstimate, ratios: Sequence[float]) -> bool:
    """Whether a change goes on, by its gain and by its gains of rounds."""
    return gain.high > LEAST_GAIN and not is_hopeless(ratios)


def is_hopeless(ratios: Sequence[float]) -> bool:
    """Whether these gains of rounds are so bad that no more are needed."""
    return max(ratios) < -math.log(HOPELESS if len(ratios) > 1 else HOPELESS_AT_ONCE)


def proven_of(gains: Gains) -> dict[Change, AnytimeEstimate]:
    """The changes that may be chosen."""
    known = {change: gain for change, gain in gains.items() if gain is not None}
    return {c: gain for c, gain in known.items() if gain.low > 0 and gain.mean > LEAST_GAIN}


def by_promise(changes: Iterable[Change], gains: Gains) -> list[Change]:
    """Those that are not known yet, by how good they look; what was not seen looks idle."""
    new = [change for change in changes if not is_known(gains[change])]
    return sorted(new, key=lambda change: -mean_of(gains[change]) if gains[change] else 0.0)


def best_of(changes: Iterable[Change], gains: Gains) -> Change | None:
    """The one that looks best."""
    return max(changes, key=lambda change: mean_of(gains[change]), default=None)


def harmful_of(gains: Gains, chosen: Change) -> set[Change]:
    """Those that are proven to harm; not where what was chosen leaves them other cores."""
    anew = SHARED_CORES if chosen.slots & SHARED_CORES else frozenset()
    known = {change: gain for change, gain in gains.items() if gain is not None}
    return {c for c, gain in known.items() if gain.high < 0 and not anew & c.slots}


def idlest_of(company: Mapping[Change, AnytimeEstimate]) -> Change | None:
    """The change that brings least beside the others, if that is nothing."""
    idle = {c: g.mean for c, g in company.items() if g.mean < LEAST_GAIN and g.low <= 0}
    return min(idle, key=lambda change: idle[change], default=None)


def seeming_of(gains: Gains) -> list[Change]:
    """The changes that look as if they brought much, by rounds enough, the best first."""
    known = {c: gain for c, gain in gains.items() if is_known(gain) and mean_of(gain) > SEEMS}
    return sorted(known, key=lambda change: (-mean_of(known[change]), change.name))


def plainer(leader: Change, proven: Mapping[Change, AnytimeEstimate]) -> Change:
    """A part of it that brings as much, if it is a bundle of changes; else itself."""
    parts = [each for each in proven if each.slots < leader.slots]
    best = max(parts, key=lambda change: proven[change].mean, default=leader)
    return best if proven[best].mean > proven[leader].mean - LEAST_GAIN else leader


def pairs_of(chosen: Changes, alone: Gains) -> list[tuple[Change, Change]]:
    """What was not chosen in its slot, with what seems to help alone and not beside the choice.

    One worker hides a slow callback, say: then two of them and a cheaper callback may bring more,
    though neither brings anything beside that one. Of changes that exclude a chosen one the one
    that looks best is taken, if it looks half as good.
    """
    slots = {slot for change in chosen for slot in change.slots}
    best = max((mean_of(alone.get(change)) for change in chosen), default=0.0)
    by_gain = sorted(alone.keys() - chosen, key=lambda c: (-mean_of(alone[c]), c.name))
    others = [c for c in by_gain if c.slots & slots and mean_of(alone[c]) >= best / 2]
    idle = [c for c in by_gain if not c.slots & slots and mean_of(alone[c]) > SEEMS]
    pairs = [(other, c) for other in others[:1] for c in idle if not c.slots & other.slots]
    return pairs[:MOST_PAIRS]


def in_words(number: int, count: int, gains: Gains) -> str:
    """What a race's round of so many changes has shown, numbered from 0."""
    best = max(gains, key=lambda change: mean_of(gains[change]))
    seen = f"round {number + 1}: {counted(count, 'change')}"
    if (gain := gains[best]) is None:
        return seen
    return f"{seen}, at best {math.exp(gain.mean):.2f} times as fast ({best.name})"


def is_known(gain: AnytimeEstimate | None) -> bool:
    """Whether there are rounds enough for an interval that holds whenever one looks."""
    return gain is not None and gain.n >= FEWEST_ROUNDS


def mean_of(gain: AnytimeEstimate | None) -> float:
    return -math.inf if gain is None else gain.mean
