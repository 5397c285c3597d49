"""Advice on what a callback costs: by the argument that tells it how seldom to act."""

from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar, TQDMProgressBar

from hpml.timing.advice import JobFacts, advise
from hpml.trials.resting_callbacks import intervals


class Every(L.Callback):
    """Is told how seldom to act."""

    def __init__(self, every_n_steps: int = 1) -> None:
        self.every_n_steps = every_n_steps


CALLBACKS: dict[str, tuple[Any, str | None]] = {
    "a bar": (TQDMProgressBar(), "refresh_rate"),
    "another bar": (RichProgressBar(), "refresh_rate"),
    "one of theirs": (Every(), "every_n_steps"),
    "one without": (LearningRateMonitor(), None),
}


def test_a_cause_without_advice_of_its_own_gets_none_of_another() -> None:
    """As one of a phase that is added."""
    advice = advise("decoding", JobFacts(), None, 0.0)
    assert advice == "What is left is to make that part of a step cheaper"


@pytest.mark.parametrize("name", CALLBACKS)
def test_the_argument_that_makes_a_callback_cheaper_is_named(name: str) -> None:
    """Where it has one; else its hooks are to be called less often."""
    callback, argument = CALLBACKS[name]
    kind = type(callback).__name__
    facts = JobFacts(intervals=intervals({kind: callback}))
    advice = advise("overhead", facts, (kind, 0.9), 0.0, of="the overhead")
    seldom = f"give a larger {argument}" if argument else "call it less often"
    assert advice == f"90% of the overhead is {kind}: {seldom}, or make it cheaper"
