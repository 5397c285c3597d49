"""C6: the optimizers in sentences."""

from collections.abc import Iterator, Sequence

from hpml.lab.report.answers import ACCURACY, LOSS, caveats, shown
from hpml.lab.report.explanations import why_last
from hpml.lab.report.hosts import several_hosts
from hpml.lab.report.too_busy import too_busy, why
from hpml.report.comparison import Comparison
from hpml.report.ranking import Measure, Ranked, in_a_sentence
from hpml.report.settings import Setting

REPEAT = "lab.seeds=3 repeats each"


def about_optimizers(comparison: Comparison, again: str) -> list[str]:
    """C6: the optimizers by loss and by accuracy, and how far their epochs' times are apart."""
    sentences = []
    for measure in (LOSS, ACCURACY):
        if len(ranks := [rank for rank in comparison.ranked(measure) if rank.estimate]) > 1:
            order = ", ".join(f"{_name(r.setting)} {shown(r.setting, measure)}" for r in ranks)
            sentences.append(f"By {measure.title}: {order}.")
            sentences.append(_ranking(measure, ranks))
            sentences.append(_last(ranks, f"Worst {measure.title.removeprefix('last ')}"))
            if sentences[-1] and ranks[-1].standing != "tied":
                sentences.append(why_last(ranks))
    sentences = list(dict.fromkeys(sentences))  # one is the last by both
    sentences += _by_time(comparison, again)
    if not sentences:
        sentences.append("Fewer than two optimizers completed: there is no order.")
    return [sentence for sentence in sentences if sentence] + caveats(comparison.runs)


def _by_time(comparison: Comparison, again: str) -> Iterator[str]:
    """Which optimizer is fastest, which slowest, and how far they are apart."""
    time = comparison.time
    if hosts := several_hosts(comparison.runs):
        yield f"They are not compared by time: they ran on {hosts}."
        return
    ranks = [rank for rank in comparison.by_time if rank.estimate]
    if len(ranks) < 2:
        return
    reason = why({_name(rank.setting): rank.setting for rank in ranks}, time)
    if any(rank.in_doubt or rank.may_lead for rank in ranks):
        yield (too_busy(reason, again) if reason else _ranking(time, ranks))
        return
    yield _ranking(time, ranks)
    fastest, *_, slowest = (rank.estimate.mean for rank in ranks if rank.estimate)
    if reason:
        yield f"By how much they differ is not known: {reason}."
    elif fastest > 0:
        yield _last(ranks, "Slowest", f", {slowest / fastest - 1:.1%} longer than the fastest")


def _ranking(measure: Measure, ranks: Sequence[Ranked]) -> str:
    sentence = in_a_sentence(measure, ranks, REPEAT)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _last(ranks: Sequence[Ranked], called: str, by: str = "") -> str:
    """Which is last, by how much, and whether that may be chance."""
    best, last = ranks[0].estimate, ranks[-1]
    if not (best and last.estimate) or best.mean == last.estimate.mean:
        return ""
    certainty = {
        "worse": "told from the best at 95 %",
        "tied": "but it cannot be told from the best",
        "best": "but it alone was repeated",
    }.get(last.standing or "", "in one run, too few to tell from chance")
    return f"{called}: {_name(last.setting)}{by}, {certainty}."


def _name(setting: Setting) -> str:
    """The optimizer's, where nothing else varies."""
    return setting.values["optimizer"] if list(setting.values) == ["optimizer"] else setting.name
