"""Settings ranked by a figure, and what that says in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpml.formatting import decimals
from hpml.report.settings import Setting
from hpml.statistics import Estimate, Standing


@dataclass(frozen=True)
class Measure:
    """A figure by which settings are ranked."""

    name: str  # in the record
    title: str
    best: str  # what the best setting is called
    higher_is_better: bool = False
    unit: str = "s"  # or `%`, or nothing

    def shown(self, estimate: Estimate, with_unit: bool = True) -> str:
        """`2.31 ± 0.05 s`, `84.1 ± 0.4%`; a single run has no interval."""
        scale = 100 if self.unit == "%" else 1
        spec = f".{decimals(estimate.mean)}f" if self.unit == "s" else ".2f" if self.unit else ".4g"
        text = f"{scale * estimate.mean:{spec}}"
        if estimate.half_width is not None:
            text += f" ± {scale * estimate.half_width:{spec if self.unit else '.2g'}}"
        return text + {"s": " s"}.get(self.unit, self.unit) * with_unit


@dataclass(frozen=True)
class Ranked:
    """A setting's place in a ranking."""

    setting: Setting
    estimate: Estimate | None
    standing: Standing | None


def in_a_sentence(measure: Measure, ranks: Sequence[Ranked]) -> str:
    """`fastest: adam, 2.31 ± 0.05 s …; tied with it: sgd`; nothing where there is no choice."""
    ranked = [(rank, rank.estimate) for rank in ranks if rank.estimate is not None]
    if len(ranked) < 2:
        return ""
    first, figure = ranked[0]
    if len({estimate.mean for _, estimate in ranked}) == 1:
        return f"{measure.title}: {measure.shown(figure)} in all settings"
    text = f"{measure.best}: {first.setting.name}, {measure.shown(figure)} ({measure.title})"
    if first.standing == "untested":
        text += ", in one run, which is too few to tell it from chance: sweep seed=0,1,2"
        best = next((pair for pair in ranked if pair[0].standing == "best"), None)
        if best is None:
            return text
        text += f"; of what ran again: {best[0].setting.name}, {measure.shown(best[1])}"
    tied, worse, untested = (
        [rank.setting.name for rank, _ in ranked if rank.standing == standing]
        for standing in ("tied", "worse", "untested")
    )
    if tied and (worse or len(tied) == 1):
        text += f"; tied with it: {_listed(tied)}"
    elif tied:
        text += "; no other can be told from it"
    elif worse:
        text += "; ahead of all others" + " that ran again" * bool(untested)
    untested = [name for name in untested if name != first.setting.name]
    if untested:
        text += f"; not compared, for want of a second run: {_listed(untested)}"
    return text


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
