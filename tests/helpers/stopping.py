"""A rule that stops rounds at a number of them."""

from typing import Any

from hpml.trials.rounds import Measurements, StoppingRule


def after_rounds(count: int, again: int = 0) -> StoppingRule:
    """Stops after so many rounds in all, with those that there were before.

    Of those that are disturbed, as many as `again` are made up for by others.
    """

    def stop(measured: Measurements[Any, Any]) -> bool:
        return measured.next_round >= count + min(again, len(measured.disturbed))

    return stop
