"""Random states are as they were, whatever happens meanwhile."""

import random

import numpy as np
import pytest
import torch

from hpml.system.random_states import random_states_kept


def test_they_come_back_where_something_is_raised() -> None:
    """Python's, NumPy's and torch's."""

    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(1))

    with random_states_kept():
        expected = drawn()
    with pytest.raises(ZeroDivisionError), random_states_kept(of_gpus=False):
        drawn()[0] / 0
    assert drawn() == expected
