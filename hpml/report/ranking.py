"""Settings ranked by a measure, and a ranking in a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpml.config.lab_advice import advised
from hpml.formatting import decimals, listed, with_spread
from hpml.report import times_in_doubt
from hpml.report.collect import TIMED_FROM
from hpml.report.settings import Setting
from hpml.report.times_in_doubt import MOST_NAMED, Span
from hpml.statistics import Estimate, Standing, estimate, standings

NOTHING = "–"  # where there is no figure
REPEAT = "sweep seed=0,1,2"
LONG = 120  # characters: of longer names a sentence has two


@dataclass(frozen=True)
class Measure:
    """A figure by which settings are ranked."""

    name: str  # in the record
    title: str
    best: str  # what the best setting is called
    higher_is_better: bool = False
    unit: str = "s"  # or `%`, or nothing

    def shown(self, estimate: Estimate | None, with_unit: bool = True) -> str:
        """`2.31 ± 0.05 s`, `84.10 ± 0.40%`; a single run has no interval."""
        if estimate is None:
            return NOTHING
        # zeros at the end too, for columns of one length; from 1,000 on a point would be last
        plain = "#.4g" if abs(estimate.mean) < 1000 else ".4g"
        spec = f".{decimals(estimate.mean)}f" if self.unit == "s" else ".2f" if self.unit else plain
        shown = estimate.in_units(0.01) if self.unit == "%" else estimate
        text = with_spread(shown, spec, "" if self.unit else ".2g")
        return text + {"s": " s"}.get(self.unit, self.unit) * with_unit


EPOCH = Measure("epoch_s", "time of an epoch", "fastest")
STEADY = Measure("steady_epoch_s", "time of an epoch after the first", "fastest")


@dataclass(frozen=True)
class Ranked:
    setting: Setting
    estimate: Estimate | None
    standing: Standing | None
    span: Span | None = None  # of a time
    in_doubt: bool = False  # others disturbed it too much for a place: it stands at None
    may_lead: bool = False  # without what it lost it may be ahead of the first one


def rank_settings(settings: Sequence[Setting], measure: Measure) -> list[Ranked]:
    """The best first; below, those in doubt, and those without the measure."""
    is_time = measure.name in TIMED_FROM
    spans = [times_in_doubt.span(s, measure.name) if is_time else None for s in settings]
    doubts = times_in_doubt.in_doubt(spans)
    by_seed = [setting.by_seed(measure.name) for setting in settings]
    every = [setting.all_of(measure.name) for setting in settings]
    certain = [[] if doubt else values for values, doubt in zip(every, doubts, strict=True)]
    outcome = standings(by_seed, certain, measure.higher_is_better)
    ranks = map(Ranked, settings, map(estimate, every), outcome, spans, doubts)
    sign = -1 if measure.higher_is_better else 1

    def place(each: Ranked) -> tuple[bool, float]:
        return each.in_doubt, sign * each.estimate.mean if each.estimate else math.inf

    return _without_a_fastest(sorted(ranks, key=place))


def _without_a_fastest(ranks: list[Ranked]) -> list[Ranked]:
    """The same; where others may have lost their lead to interference, none of them has a place.

    Of what was not disturbed, and is tied anyway, nobody says that it is slower.
    """

    def may_lead(rank: Ranked, first: Ranked) -> bool:
        if rank is first or rank.span is None or first.span is None or rank.span.lost_s == 0:
            return False
        tied = rank.standing == "tied" and not rank.span.disturbed
        return not tied and not first.span.is_below(rank.span)

    leading = [may_lead(rank, ranks[0]) for rank in ranks]
    if not any(leading):
        return ranks
    pairs = zip(ranks, leading, strict=True)
    return [replace(rank, standing=None, may_lead=leads) for rank, leads in pairs]


def in_a_sentence(measure: Measure, ranks: Sequence[Ranked], repeat: str = "") -> str:
    """`fastest: adam, 2.31 ± 0.05 s …; tied with it: sgd`; nothing where there is no choice.

    `repeat` is what to do where there is one run alone; by default a sweep over seeds.
    """
    ranked = [(rank, rank.estimate) for rank in ranks if rank.estimate is not None]
    if len(ranked) < 2:
        return ""
    first, figure = ranked[0]
    if len({estimate.mean for _, estimate in ranked}) == 1:
        return f"{measure.title}: {measure.shown(figure)} in all settings"
    doubted = [rank.setting.name for rank, _ in ranked if rank.in_doubt]
    names = "all of them" if len(doubted) == len(ranked) else _few(doubted)
    not_ranked = f"; not ranked, being disturbed: {names}" if doubted else ""
    if above := [rank.span for rank in ranks if rank.span and rank.may_lead]:
        above.sort(key=lambda span: span.lowest_s - span.time_s)
        lost = _few([f"{span.name} {span.in_words}" for span in above])
        text = f"no {measure.best} can be named ({measure.title}): {first.setting.name} took "
        return f"{text}{measure.shown(figure)}, but {lost}{not_ranked}"
    text = f"{measure.best}: {first.setting.name}, {measure.shown(figure)} ({measure.title})"
    if first.standing == "untested":
        text += (
            f", in one run, which is too few to tell it from chance: {repeat or advised(REPEAT)}"
        )
        best = next((pair for pair in ranked if pair[0].standing == "best"), None)
        if best is None or doubted:
            return text + not_ranked
        text += f"; of what ran again: {best[0].setting.name}, {measure.shown(best[1])}"
    tied, worse, untested = (
        [rank.setting.name for rank, _ in ranked if rank.standing == standing]
        for standing in ("tied", "worse", "untested")
    )
    if tied and (worse or len(tied) == 1):
        text += f"; tied with it: {_few(tied)}"
    elif tied:
        text += "; no other can be told from it"
    elif worse:
        text += "; ahead of all others" + " that ran again" * bool(untested)
    untested = [name for name in untested if name != first.setting.name]
    if untested:
        text += f"; not compared, for want of a second run: {_few(untested)}"
    return text + not_ranked


def _few(names: Sequence[str]) -> str:
    """The first names, two of them where they are long, and how many more there are."""
    return listed(names, MOST_NAMED if sum(map(len, names[:MOST_NAMED])) <= LONG else 2)
