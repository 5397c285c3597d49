"""Epochs, steps and samples as the EpochTimer counts them."""

from typing import Any

import pytest
import torch

from hpml.callbacks.trainer_facts import samples_in


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        (torch.zeros(5, 3), 5),
        ((torch.zeros(4, 1), torch.zeros(9)), 4),
        ([{"text": ["a", "b"], "ids": torch.zeros(6, 2)}], 6),
        ({"a": None, "b": torch.zeros(2)}, 2),
        (torch.tensor(1.0), None),
        ("text", None),
        ([], None),
    ],
)
def test_samples_are_the_first_dimension_of_the_first_tensor(batch: Any, samples: Any) -> None:
    """The stated rule, on batches of any kind; None where it says nothing."""
    assert samples_in(batch) == samples
