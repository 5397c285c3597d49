"""Several ranks of one run: which one is late, in what, how often; what their talking costs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from hpml.formatting import counted, size_in_words
from hpml.records.run_record import LARGEST, EpochRecord
from hpml.report.collect import Run, clean

MOST_LATE = 3  # ranks and phases in sentences
SAME_CLOCK_S = 0.005  # an offset that reading it alone may make


def is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < LARGEST


def is_amount(value: object) -> TypeGuard[float]:
    return is_number(value) and value >= 0


def check_ranks(epoch: EpochRecord) -> None:
    """Makes None of what is not of the type that it should be."""
    ranks: dict[str, Any] = epoch.ranks if isinstance(epoch.ranks, dict) else {}
    late_s, late, talk = (ranks.get(name) for name in ("late_s", "late", "communication"))
    known: dict[str, Any] = {}
    if isinstance(late_s, list) and late_s and all(map(is_number, late_s)):
        known["late_s"] = late_s
        if _is_late(late, len(late_s)):
            known["late"] = late
    if isinstance(talk, dict) and all(is_amount(talk.get(k)) for k in ("exposed_s", "bytes")):
        known["communication"] = talk
    epoch.ranks = known or None


def _is_late(late: Any, ranks: int) -> bool:
    if not (isinstance(late, dict) and isinstance(late.get("phase"), str)):
        return False
    rank = late.get("rank")
    return (
        is_amount(late.get("late_s")) and isinstance(rank, int) and is_amount(rank) and rank < ranks
    )


def is_disturbed(epoch: EpochRecord) -> bool:
    """Whether others took so much of it that any rank may be late by them alone."""
    return bool((epoch.interference or {}).get("disturbed"))


def late_in_words(epoch: EpochRecord) -> str:
    """`rank 1: 0.80 s, data`; empty where no rank is late."""
    late = (epoch.ranks or {}).get("late")
    return clean(f"rank {late['rank']}: {late['late_s']:.3g} s, {late['phase']}") if late else ""


def rank_sentences(run: Run) -> Iterator[str]:
    """Which ranks are late, what the exchange of gradients costs, how far the clocks differ."""
    epochs = [epoch for epoch in run.record.epochs if epoch.ranks]
    every = [epoch.ranks or {} for epoch in epochs if not is_disturbed(epoch)]
    left_out = " that others did not disturb" * (len(every) < len(epochs))
    lates = [ranks["late"] for ranks in every if "late" in ranks]
    counts = Counter((late["rank"], late["phase"]) for late in lates)
    for (rank, phase), count in counts.most_common(MOST_LATE):
        late_s = [e["late_s"] for e in lates if (e["rank"], e["phase"]) == (rank, phase)]
        often = f"in {count} of {counted(len(every), 'epoch')}{left_out}"
        yield clean(
            f"{_named(run, rank)} is late in {phase} {often}, by {sum(late_s) / count:.3g} s"
        )
    yield from _talking(run.record.epochs)
    offsets = [abs(place["clock_offset_s"]) for place in _places(run)]
    if offsets and max(offsets) > SAME_CLOCK_S:
        yield (
            f"the ranks' clocks differ by up to {max(offsets):.3g} s; "
            "only times of one clock are subtracted from each other"
        )


def _talking(epochs: Sequence[EpochRecord]) -> Iterator[str]:
    pairs = [
        (e, e.ranks["communication"]) for e in epochs if e.ranks and "communication" in e.ranks
    ]
    whole_s = sum(epoch.time["epoch_s"] or 0.0 for epoch, _ in pairs)
    if not whole_s:
        return
    share = sum(talk["exposed_s"] for _, talk in pairs) / whole_s
    last = pairs[-1][1]
    speed = last.get("bytes_per_s")
    fast = f", at {size_in_words(round(speed))}/s" if is_amount(speed) and speed else ""
    buckets = last.get("buckets")
    parts = f" in {counted(len(buckets), 'bucket')}" if isinstance(buckets, list) else ""
    yield (
        f"the ranks exchange {size_in_words(int(last['bytes']))} of gradients a step{parts}{fast}; "
        f"{share:.0%} of the time they do that and nothing else"
    )


def _places(run: Run) -> list[Mapping[str, Any]]:
    """Host, device and clock of each rank, where the record has them all."""
    places = run.record.environment.get("ranks")
    known = isinstance(places, list) and all(
        isinstance(place, dict)
        and isinstance(place.get("host"), str)
        and is_number(place.get("clock_offset_s"))
        for place in places
    )
    return places if known and places else []


def _named(run: Run, rank: int) -> str:
    places = _places(run)
    return f"rank {rank} on {places[rank]['host']}" if rank < len(places) else f"rank {rank}"
