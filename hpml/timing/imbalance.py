"""The verdict `imbalance`: one rank is late, and the others wait for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpml.records.phases import INPUT, OVERHEAD, TRANSFER
from hpml.timing.advice import JobFacts, advise
from hpml.timing.rank_comparison import Comparisons, Late, place_in_words

IMBALANCE = "imbalance"
_CAUSES = {"data": INPUT, "transfer": TRANSFER, "callbacks": OVERHEAD, "logging": OVERHEAD}
_COMPUTES = (
    "It computes longer than the others: give it as much as them, "
    "and look at what else runs on its device"
)
_VALIDATES = "It validates longer than the others: give each rank as many batches as them"


def imbalance(
    late: Late, count: int, compared: Comparisons, places: Sequence[Mapping[str, Any]], advice: str
) -> dict[str, str]:
    """The record's `verdict`, of a rank that is late in `count` of the epochs."""
    name = place_in_words(late.rank, places)
    evidence = (
        f"{name} is late by {late.late_s:.2g} s of {compared.epoch_s:.2g} s an epoch, "
        f"in {late.phase}, in {count} of {len(compared.epochs)} epochs; the others wait for it"
    )
    return {"kind": IMBALANCE, "basis": "ranks", "evidence": evidence, "advice": advice}


def advise_rank(
    late: Late,
    facts: JobFacts,
    largest_other: tuple[str, float] | None,
    start_share: float,
    of: str = "`other`",
) -> str:
    """One sentence on what the late rank is late in, from what is known on that rank."""
    if (cause := _CAUSES.get(late.phase)) is not None:
        return advise(cause, facts, largest_other, start_share, of)
    return _VALIDATES if late.phase == "validation" else _COMPUTES
