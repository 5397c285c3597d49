"""Whether others on the machine left a search for workers without an answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from hpml.system.interference import Interference, of_record
from hpml.worker_counts.counts_to_try import in_words


def disturbed_by(search: Mapping[str, Any]) -> str:
    """What others took where they may have made the answer, in words; nothing where they did not.

    `search` is what `workers.json` holds: of it `settings`, `tied` and `disturbed_rounds`.
    """
    from hpml.trials.rounds import ENOUGH_ROUNDS  # and numpy

    if not (settings := search.get("settings")):
        return ""
    disturbed = {*(search.get("disturbed_rounds") or ())}
    doubted = {
        setting: taken
        for setting, taken in _in_doubt(settings, [*map(str, search["tied"])])
        if len({*map(int, settings[setting]["rounds"])} - disturbed) < ENOUGH_ROUNDS
    }
    if not doubted:
        return ""
    worst = max(doubted, key=lambda setting: doubted[setting].share)
    return doubted[worst].in_words(f"the training with {in_words(worst)}")


def _in_doubt(settings: Mapping[str, Any], tied: list[str]) -> Iterator[tuple[str, Interference]]:
    """Disturbed settings that are tied with another one, or may be faster than the first of them.

    Those come in the order of their settings: the first ones are the fewest workers.
    """
    best_s = settings[tied[0]]["epoch_s"]["mean"]
    for setting, of in settings.items():
        taken = of_record(each.get("interference") for each in of.get("rounds", {}).values())
        if taken is not None and taken.disturbed:
            least_s = (1 - taken.share) * of["epoch_s"]["mean"]
            is_tied = setting in tied and len(tied) > 1
            if is_tied or (setting not in tied and least_s <= best_s):
                yield setting, taken
