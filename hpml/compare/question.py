"""What is asked of two sides, and what is known of it after some rounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from hpml.errors import UserError
from hpml.records.phases import PHASES
from hpml.statistics import LEVEL, AnytimeEstimate, anytime_estimate, stdev

SLOWER, NOT_SLOWER, UNDECIDED = "slower", "not slower", "undecided"
# Of fewer rounds nothing is said: two or three may be alike by chance, and their interval narrow.
FEWEST_ROUNDS = 4
THRESHOLD = 0.03
# Of logarithms: what rounds vary by at least, and from where on an interval is shown by its ends.
LEAST_DEVIATION, WIDE = 0.002, 0.2
# Headings of the answer's tables, `rows` and `phase_rows`.
ASKED = ("", "before", "after", "difference", "threshold", "")
IN_A_STEP = ("in a step", "before", "after", "of a step", "")
# Phases of a short fit, which validates nothing.
TIMED = tuple(phase for phase in PHASES if phase.name != "validation")


@dataclass(frozen=True)
class Metric:
    """A figure of which more is worse."""

    name: str
    title: str  # in sentences
    unit: str = "s"
    of_process: bool = False  # once a process; else once a short fit


METRICS = {
    metric.name: metric
    for metric in (
        Metric("step", "a step"),
        Metric("epoch", "an epoch"),
        Metric("samples", "a sample"),
        Metric("memory", "peak memory", "MiB", of_process=True),
        Metric("startup", "start-up", of_process=True),
        Metric("joules", "energy of a step", "J"),
        *(Metric(phase.name, f"{phase.title} in a step") for phase in TIMED),
    )
}


@dataclass(frozen=True)
class Question:
    """Whether a metric is larger by more than a part of it."""

    metric: Metric
    threshold: float = THRESHOLD

    def verdict(self, ratio: AnytimeEstimate | None) -> str:
        """Of the logarithm of the ratio, by an interval that holds whenever one looks."""
        if ratio is None or ratio.n < FEWEST_ROUNDS:
            return UNDECIDED
        limit = math.log1p(self.threshold)
        return SLOWER if ratio.low > limit else NOT_SLOWER if ratio.high < limit else UNDECIDED


def questions_of(words: str, slower_than: str) -> list[Question]:
    """From `step,memory=10%`, with a threshold for those that have none. Raises UserError."""
    usual = share_of("--slower-than", slower_than)
    found: dict[str, Question] = {}
    for word in filter(None, (word.strip() for word in words.split(","))):
        name, _, own = word.partition("=")
        if name not in METRICS:
            raise UserError(f"--of={name}: give some of {', '.join(METRICS)}, with commas between")
        found[name] = Question(METRICS[name], share_of(f"--of={name}", own) if own else usual)
    if not found:
        raise UserError(f"--of={words}: give some of {', '.join(METRICS)}")
    return list(found.values())


def share_of(option: str, text: str) -> float:
    """`5%` and `5` as 0.05. Raises UserError."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not 0 < share < 10:
        raise UserError(f"{option}={text}: give a part in per cent, more than 0%, such as 3%")
    return share


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


def all_in_all(verdicts: Sequence[str]) -> str:
    """One is enough for slower; all have to be known for not slower."""
    for verdict in (SLOWER, UNDECIDED):
        if verdict in verdicts:
            return verdict
    return NOT_SLOWER


def is_answered(verdicts: Sequence[str]) -> bool:
    return all_in_all(verdicts) != UNDECIDED


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
