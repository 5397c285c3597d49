"""The answer of rounds: their intervals, where the difference lies, what qualifies it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpml.compare import losses
from hpml.compare.answer import UNCHANGED, UNCHANGED_WITHIN, Answer, Outcome, PhaseChange
from hpml.compare.question import TIMED, Metric
from hpml.compare.rounds import SIDES, Rounds
from hpml.compare.verdict import UNDECIDED, expm1, geometric_mean
from hpml.formatting import counted


def of_rounds(
    rounds: Rounds, names: Mapping[str, str], budget_s: float, ended_by: str = "", **more: Any
) -> Answer:
    """What all rounds say; `ended_by` tells what has ended them before the budget."""
    outcomes = [
        Outcome(each, rounds.ratio(each.metric), figures_of(rounds, each.metric))
        for each in rounds.questions
    ]
    phases = phases_of(rounds)
    bound = of_bound(phases)
    notes = [losses.in_words(rounds.every), *_notes(rounds), _counts(rounds), bound]
    return Answer(
        names,
        outcomes,
        phases,
        [note for note in notes if note],
        len(rounds.every),
        len(rounds.disturbed),
        ended_by or _why_undecided(rounds, outcomes, budget_s),
        **more,
    )


def figures_of(rounds: Rounds, metric: Metric) -> tuple[float | None, float | None]:
    """Geometric means over the rounds that count; over all where none does."""
    means: list[float | None] = []
    for side in SIDES:
        values = [each.figure(side, metric) for each in rounds.counting or rounds.every]
        known = [value for value in values if value is not None]
        means.append(geometric_mean(known) if known else None)
    return means[0], means[1]


def of_bound(phases: Sequence[PhaseChange]) -> str:
    """What the word unchanged stands for, where one is."""
    if not any(phase.state == UNCHANGED for phase in phases):
        return ""
    return f"{UNCHANGED}: the interval lies within ± {100 * UNCHANGED_WITHIN:g} % of a step"


def phases_of(rounds: Rounds) -> list[PhaseChange]:
    changes = []
    for phase in TIMED:
        before, after = figures_of(rounds, Metric(phase.name, phase.title))
        if before is not None and after is not None:
            share = rounds.share(phase.name)
            changes.append(PhaseChange(phase.name, phase.title, (before, after), share))
    return changes


def _notes(rounds: Rounds) -> list[str]:
    """What the trials did without, on either side."""
    every = (note for each in rounds.every for side in SIDES for note in _of(each, side))
    return list(dict.fromkeys(every))


def _of(round_: Any, side: str) -> Sequence[str]:
    notes: Sequence[str] = round_.processes.get(side, {}).get("notes", ())
    return notes


def _counts(rounds: Rounds) -> str:
    if not (disturbed := rounds.disturbed):
        return ""
    seen = [each.interference for each in disturbed if each.interference is not None]
    worst = max(seen, key=lambda each: each.share, default=None)
    by = f": {worst.in_words('one of them')}" if worst is not None and worst.lost_s else ""
    were = "was" if len(disturbed) == 1 else "were"
    of = counted(len(rounds.every), "round")
    return f"{len(disturbed)} of {of} {were} disturbed and left out{by}"


def _why_undecided(rounds: Rounds, outcomes: Sequence[Outcome], budget_s: float) -> str:
    if rounds.every and not rounds.counting:
        return "others disturbed every round; ask again on a quiet machine"
    halves = [
        each.ratio.half_width
        for each in outcomes
        if each.verdict == UNDECIDED and each.ratio and each.ratio.half_width is not None
    ]
    within = f"cannot be told within the budget of {budget_s:g} s"
    if not halves:
        return f"{within}: it was enough for {counted(len(rounds.counting), 'round')}"
    return f"{within}: the floor here is {100 * expm1(max(halves)):.1f} %"
