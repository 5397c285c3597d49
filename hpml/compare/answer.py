"""The answer: a verdict for CI, one sentence, and where a difference lies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpml.compare.question import ASKED, IN_A_STEP, Metric, Question
from hpml.compare.verdict import (
    FEWEST_ROUNDS,
    NOT_SLOWER,
    SLOWER,
    UNDECIDED,
    all_in_all,
    in_percent,
)
from hpml.formatting import listed, table
from hpml.statistics import AnytimeEstimate
from hpml.system import exit_codes

EXIT_CODES = {
    NOT_SLOWER: exit_codes.COMPLETED,
    SLOWER: exit_codes.FAILED,
    UNDECIDED: exit_codes.UNDECIDED,
}
# Parts of a step. A phase has changed where its interval says so, and by more than the first; it is
# unchanged where its interval lies within the second; else nobody knows.
LEAST_SHARE = 0.005
UNCHANGED_WITHIN = 0.01
CHANGED, UNCHANGED, UNKNOWN = "changed", "unchanged", "unknown"


@dataclass(frozen=True)
class Outcome:
    """What is known of one question; `ratio` is the logarithm of after over before."""

    question: Question
    ratio: AnytimeEstimate | None
    figures: tuple[float | None, float | None]  # before and after

    @property
    def verdict(self) -> str:
        return self.question.verdict(self.ratio)

    @property
    def in_words(self) -> str:
        """`a step +5.1 ± 0.9 % (12.3 → 12.9 ms)`."""
        return f"{self.question.metric.title} {in_percent(self.ratio)}{self._from_to}"

    @property
    def _from_to(self) -> str:
        known = [each for each in self.figures if each is not None]
        if len(known) < len(self.figures):
            return ""
        before, after = (in_unit(each, self.question.metric) for each in known)
        same_unit = before.rpartition(" ")[2] == after.rpartition(" ")[2]
        return f" ({before.rpartition(' ')[0] if same_unit else before} → {after})"


@dataclass(frozen=True)
class PhaseChange:
    """By how much a phase has grown, in parts of a step before."""

    name: str
    title: str
    seconds: tuple[float, float]
    share: AnytimeEstimate | None

    @property
    def state(self) -> str:
        """CHANGED, UNCHANGED or UNKNOWN."""
        share = self.share
        if share is None or share.half_width is None or share.n < FEWEST_ROUNDS:
            return UNKNOWN
        if abs(share.mean) >= LEAST_SHARE and (share.low > 0 or share.high < 0):
            return CHANGED
        within = share.low >= -UNCHANGED_WITHIN and share.high <= UNCHANGED_WITHIN
        return UNCHANGED if within else UNKNOWN

    @property
    def changed(self) -> bool:
        return self.state == CHANGED

    @property
    def in_words(self) -> str:
        """`+4.8 ± 0.7 %`."""
        if self.share is None:
            return "unknown"
        mean = f"{100 * self.share.mean:+.1f}"
        half = self.share.half_width
        return f"{mean} ± ? %" if half is None else f"{mean} ± {100 * half:.1f} %"


@dataclass
class Answer:
    """Whether AFTER is slower than BEFORE; `print` shows it."""

    names: Mapping[str, str]  # of both sides, as they were given
    outcomes: Sequence[Outcome]
    phases: Sequence[PhaseChange] = ()
    notes: Sequence[str] = ()
    rounds: int = 0
    disturbed: int = 0
    why_undecided: str = ""
    undecided_passes: bool = False
    interrupted: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)  # commits, machine, command, raw rounds

    @property
    def verdict(self) -> str:
        return all_in_all([each.verdict for each in self.outcomes])

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return exit_codes.INTERRUPTED
        if self.verdict == UNDECIDED and self.undecided_passes:
            return exit_codes.COMPLETED
        return EXIT_CODES[self.verdict]

    @property
    def sentence(self) -> str:
        decisive = [each for each in self.outcomes if each.verdict == self.verdict]
        if self.verdict == UNDECIDED:
            seen = decisive[0].in_words if decisive[0].ratio else ""
            return f"undecided: {self.why_undecided}{f' ({seen})' if seen else ''}"
        side = "more" if self.verdict == SLOWER else "less"
        words = [
            f"{each.in_words}, {side} than {_percent(each.question.threshold)}" for each in decisive
        ]
        if self.where and self.verdict == SLOWER:
            words.append(self.where)
        return f"{self.verdict}: {'; '.join(words)}"

    @property
    def where(self) -> str:
        """`data +31.0 ± 4.0 % of a step, the rest is not known to have changed`; may be empty."""
        changed = [each for each in self.phases if each.changed]
        if not changed:
            return ""
        changed.sort(key=lambda each: -abs(each.share.mean if each.share else 0.0))
        words = [f"{each.title} {each.in_words}" for each in changed]
        rest = "" if len(changed) == len(self.phases) else ", the rest is not known to have changed"
        return f"{listed(words, len(words))} of a step{rest}"

    @property
    def rows(self) -> list[list[str]]:
        """Of the questions: what, before, after, ratio, threshold, verdict."""
        return [
            [
                each.question.metric.title,
                *("–" if v is None else in_unit(v, each.question.metric) for v in each.figures),
                in_percent(each.ratio),
                _percent(each.question.threshold),
                each.verdict,
            ]
            for each in self.outcomes
        ]

    @property
    def phase_rows(self) -> list[list[str]]:
        """Of the phases of a step: which, before, after, growth in parts of a step."""
        step = Metric("", "")
        return [
            [
                each.title,
                *(in_unit(seconds, step) for seconds in each.seconds),
                each.in_words,
                each.state,
            ]
            for each in self.phases
        ]

    @property
    def lines(self) -> list[str]:
        lines = table([ASKED, *self.rows], "<>>>><")
        if self.phases:
            lines += ["", *table([IN_A_STEP, *self.phase_rows], "<>>><")]
        return [*lines, "", *self.notes, self.sentence]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        from hpml.compare.page import html  # and matplotlib

        return html(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "interrupted": self.interrupted,
            "sentence": self.sentence,
            "names": dict(self.names),
            "rounds": self.rounds,
            "disturbed": self.disturbed,
            "outcomes": [_outcome_as_dict(each) for each in self.outcomes],
            "rows": self.rows,
            "phases": [_phase_as_dict(each) for each in self.phases],
            "phase_rows": self.phase_rows,
            "notes": list(self.notes),
            **self.facts,
        }


def in_unit(value: float, metric: Metric) -> str:
    """`12.3 ms`, `3.21 s`, `1,024 MiB`."""
    if metric.unit == "s":
        size, unit = next(
            each for each in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")) if _fits(value, each)
        )
        digits = max(0, 2 - math.floor(math.log10(max(value * size, 1e-3))))
        return f"{value * size:,.{digits}f} {unit}"
    return f"{value:,.0f} {metric.unit}" if value >= 100 else f"{value:.3g} {metric.unit}"


def _fits(value: float, unit: tuple[float, str]) -> bool:
    return value * unit[0] >= 1 or unit[1] == "µs"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    return {
        "metric": outcome.question.metric.name,
        "threshold": outcome.question.threshold,
        "verdict": outcome.verdict,
        "ratio": _interval(outcome.ratio),
        "before": outcome.figures[0],
        "after": outcome.figures[1],
        "in_words": outcome.in_words,
    }


def _phase_as_dict(phase: PhaseChange) -> dict[str, Any]:
    seconds = {"before_s": phase.seconds[0], "after_s": phase.seconds[1]}
    return {
        "name": phase.name,
        "changed": phase.changed,
        "state": phase.state,
        **seconds,
        "share": _interval(phase.share),
    }


def _interval(estimate: AnytimeEstimate | None) -> dict[str, Any] | None:
    """Of logarithms, or of parts of a step."""
    if estimate is None:
        return None
    return {"mean": estimate.mean, "half_width": estimate.half_width, "rounds": estimate.n}
