"""What is asked of two sides: which metrics, and from which threshold on they are slower."""

import math
from dataclasses import dataclass

from hpml.compare.verdict import THRESHOLD, verdict_of
from hpml.errors import UserError
from hpml.records.phases import PHASES
from hpml.statistics import AnytimeEstimate

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
        return verdict_of(ratio, self.threshold)


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
