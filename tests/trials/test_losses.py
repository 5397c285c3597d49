"""Tuning and comparing judge by the same rule whether two jobs compute the same."""

import math

import pytest
import torch
from helpers.compared import rounds_with

from hpml.compare.losses import in_words
from hpml.trials.losses import rounding
from hpml.trials.sameness import Trace

LOSSES = {
    "the same": ([1.0, 0.5], [1.0, 0.5], "the same to the bit"),
    "within rounding": ([1.0, 0.5], [1.0, 0.50004], "the same within rounding"),
    "beyond it": ([1.0, 0.5], [1.0, 0.5001], "differ by"),
    "more of them": ([1.0], [1.0, 0.5], "differ in number"),
    "one not finite": ([1.0, 0.5], [1.0, math.nan], "cannot be compared"),
    "both NaN": ([1.0, math.nan], [1.0, math.nan], "cannot be compared"),
    "both infinite": ([math.inf], [math.inf], "cannot be compared"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_losses_are_so_in_tune_and_in_compare(name: str) -> None:
    """Also where they are no numbers, of which nobody knows what they come from."""
    own, other, said = LOSSES[name]
    traces = [Trace(tuple(losses), torch.zeros(3), (1,)) for losses in (own, other)]
    difference = traces[0].difference(traces[1])
    assert said in in_words(rounds_with((own, other)))
    assert (difference == 0) == ("to the bit" in said)
    assert (difference <= rounding(0.0)) == ("the same" in said)
    assert math.isinf(difference) == ("number" in said or "cannot" in said)
