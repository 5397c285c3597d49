"""A rule that stops rounds at a number of them."""

from typing import Any

from hpml.trials.rounds import Measurements, StoppingRule


def after_rounds(count: int, again: int = 0, begun: int = 0) -> StoppingRule:
    """Stops after so many rounds in all, with those that there were before.

    Of those from `begun` on that are disturbed, as many as `again` are made up for by others.
    """

    def stop(measured: Measurements[Any, Any]) -> bool:
        disturbed = sum(number >= begun for number in measured.disturbed)
        return measured.next_round >= count + min(again, disturbed)

    return stop
