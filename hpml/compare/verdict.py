"""The rule of the verdict: what the rounds' ratios say, of one question and all in all."""

import math
from collections.abc import Sequence
from statistics import fmean

from hpml.statistics import LEVEL, AnytimeEstimate, anytime_estimate, stdev

SLOWER, NOT_SLOWER, UNDECIDED = "slower", "not slower", "undecided"
# Of fewer rounds nothing is said: two or three may be alike by chance, and their interval narrow.
FEWEST_ROUNDS = 4
THRESHOLD = 0.03
# Of logarithms: what rounds vary by at least, and from where on an interval is shown by its ends.
LEAST_DEVIATION, WIDE = 0.002, 0.2


def verdict_of(ratio: AnytimeEstimate | None, threshold: float) -> str:
    """Of the logarithm of the ratio, by an interval that holds whenever one looks."""
    if ratio is None or ratio.n < FEWEST_ROUNDS:
        return UNDECIDED
    limit = math.log1p(threshold)
    return SLOWER if ratio.low > limit else NOT_SLOWER if ratio.high < limit else UNDECIDED


def all_in_all(verdicts: Sequence[str]) -> str:
    """One is enough for slower; all have to be known for not slower."""
    for verdict in (SLOWER, UNDECIDED):
        if verdict in verdicts:
            return verdict
    return NOT_SLOWER


def is_answered(verdicts: Sequence[str]) -> bool:
    return all_in_all(verdicts) != UNDECIDED


def ratio_of(logarithms: Sequence[float], questions: int) -> AnytimeEstimate | None:
    """The mean of rounds' logarithms; the level is divided by the number of questions.

    They vary by LEAST_DEVIATION at least: that a few are alike does not make them certain.
    """
    level, n = LEVEL / max(1, questions), len(logarithms)
    found = anytime_estimate(logarithms, level)
    if found is None or n < 2 or stdev(logarithms) >= LEAST_DEVIATION:
        return found
    alternating = [LEAST_DEVIATION * (place % 2) for place in range(n)]
    like = anytime_estimate(alternating, level)
    assert like is not None
    if like.half_width is None:
        return found
    half = like.half_width * LEAST_DEVIATION / stdev(alternating)
    return AnytimeEstimate(found.mean, half, n)


def in_percent(ratio: AnytimeEstimate | None) -> str:
    """Of a logarithm: `+5.1 ± 0.9 %`; `+5.1 ± ? %` of too few rounds for an interval.

    A wide one is not alike on both sides, and shows its ends: `+32.3 % (+3.1 to +69.8 %)`.
    """
    if ratio is None:
        return "unknown"
    mean = 100 * expm1(ratio.mean)
    if ratio.half_width is None:
        return f"{mean:+.1f} ± ? %"
    if ratio.half_width > WIDE:
        low, high = (100 * expm1(end) for end in (ratio.low, ratio.high))
        return f"{mean:+.1f} % ({low:+.1f} to {high:+.1f} %)"
    return f"{mean:+.1f} ± {100 * math.exp(ratio.mean) * math.sinh(ratio.half_width):.1f} %"


def expm1(logarithm: float) -> float:
    """Infinite where it is too large: two or three rounds may have intervals beyond all bounds."""
    try:
        return math.expm1(logarithm)
    except OverflowError:
        return math.inf


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(fmean(math.log(max(value, 1e-12)) for value in values))
