"""Searches and diagnoses that others on the machine left without an answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from hpml.formatting import counted
from hpml.system.interference import Interference, of_record

DISTURBED = "disturbed"  # the kind of a verdict that there is none
# With so many undisturbed rounds a search leaves out the others.
ENOUGH_ROUNDS = 3


def disturbed_by(result: Mapping[str, Any]) -> str:
    """What left a search or a diagnosis without an answer, in words; nothing where it has one."""
    diagnoses = result.get("diagnoses") or {}
    verdicts = ((name, of["verdict"]) for name, of in diagnoses.items())
    words = (f"{name}: {verdict['evidence']}" for name, verdict in verdicts if is_none(verdict))
    return next(words, "") or _of_search(result)


def is_none(verdict: Mapping[str, str]) -> bool:
    return verdict["kind"] == DISTURBED


def _of_search(search: Mapping[str, Any]) -> str:
    """As `disturbed_by`: where others may have made the recommended number of workers the best."""
    settings = search.get("settings") or {}
    rounds = {int(number) for of in settings.values() for number in of.get("rounds", ())}
    quiet = rounds - {*(search.get("disturbed_rounds") or ())}
    if not settings or len(quiet) >= ENOUGH_ROUNDS:
        return ""
    doubted = dict(_in_doubt(search, settings))
    if not doubted:
        return ""
    worst = max(doubted, key=lambda count: doubted[count].share)
    return doubted[worst].in_words(f"the training with {counted(int(worst), 'worker')}")


def _in_doubt(
    search: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[tuple[str, Interference]]:
    """Disturbed counts that are tied with another one, or may be faster than the recommended."""
    best = search["recommended"]
    best_s = settings[str(best)]["epoch_s"]["mean"]
    ties = search["tied"] if len(search["tied"]) > 1 else []
    for count, of in settings.items():
        taken = of_record(each.get("interference") for each in of.get("rounds", {}).values())
        if taken is not None and taken.disturbed:
            least_s = (1 - taken.share) * of["epoch_s"]["mean"]
            if int(count) in ties or (int(count) != best and least_s <= best_s):
                yield count, taken
