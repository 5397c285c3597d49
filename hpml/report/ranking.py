"""Settings ranked by a figure, and what that says in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpml.formatting import decimals
from hpml.report.settings import Setting
from hpml.statistics import Estimate, Standing


@dataclass(frozen=True)
class Measure:
    """A figure by which settings are ranked.

    Attributes:
        name: in the record.
        title: in words.
        best: what the best setting is called.
        higher_is_better: which one is the best.
        unit: `s`, `%` or nothing.
    """

    name: str
    title: str
    best: str
    higher_is_better: bool
    unit: str

    def shown(self, known: Estimate, with_unit: bool = True) -> str:
        """`2.31 ± 0.05 s`, `84.1 ± 0.4%`; a single run has no interval."""
        scale = 100 if self.unit == "%" else 1
        spec = f".{decimals(known.mean)}f" if self.unit == "s" else ".2f" if self.unit else ".4g"
        text = f"{scale * known.mean:{spec}}"
        if known.half_width is not None:
            text += f" ± {scale * known.half_width:{spec if self.unit else '.2g'}}"
        return text + {"s": " s", "%": "%", "": ""}[self.unit] * with_unit


@dataclass(frozen=True)
class Ranked:
    """A setting's place in a ranking."""

    setting: Setting
    known: Estimate | None
    standing: Standing | None


def in_a_sentence(measure: Measure, ranks: Sequence[Ranked]) -> str:
    """`fastest: adam, 2.31 ± 0.05 s …; tied with it: sgd`; nothing where there is no choice."""
    known = [rank for rank in ranks if rank.known is not None]
    if len(known) < 2:
        return ""
    first = known[0]
    assert first.known is not None
    if len({rank.known.mean for rank in known if rank.known}) == 1:
        return f"{measure.title}: {measure.shown(first.known)} in all settings"
    told = f"{measure.best}: {first.setting.name}, {measure.shown(first.known)} ({measure.title})"
    if first.standing == "untested":
        told += ", in one run, which is too few to tell it from chance: sweep seed=0,1,2"
        best = next((rank for rank in known if rank.standing == "best"), None)
        if best is None or best.known is None:
            return told
        told += f"; of what ran again: {best.setting.name}, {measure.shown(best.known)}"
    by_standing = {
        standing: [rank.setting.name for rank in known if rank.standing == standing]
        for standing in ("tied", "worse", "untested")
    }
    tied, worse, untested = by_standing.values()
    if tied and not worse:
        told += (
            f"; tied with it: {_listed(tied)}"
            if len(tied) == 1
            else "; no other can be told from it"
        )
    elif tied:
        told += f"; tied with it: {_listed(tied)}"
    elif worse:
        told += "; ahead of all others" + (" that ran again" if untested else "")
    untested = [name for name in untested if name != first.setting.name]
    if untested:
        told += f"; not compared, for want of a second run: {_listed(untested)}"
    return told


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
