import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpml.callbacks import RuntimeEstimator, runtime_estimator


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runtime_estimator, "time", clock)
    return clock


def fake_trainer(**changes: Any) -> Any:
    return SimpleNamespace(
        **{
            "num_training_batches": 100,
            "num_val_batches": [30],
            "max_epochs": 10,
            "max_steps": -1,
            "current_epoch": 0,
            "global_step": 0,
            "accumulate_grad_batches": 1,
            "sanity_checking": False,
            "is_global_zero": True,
            "callbacks": [],
            "strategy": SimpleNamespace(root_device=torch.device("cpu")),
        }
        | changes
    )


def told(clock: Clock, caplog: Any, step_s: float, steps: int = 20, **changes: Any) -> list[str]:
    trainer, callback = fake_trainer(**changes), RuntimeEstimator()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="hpml"):
        callback.on_train_start(trainer, None)
        for batch_idx in range(steps):
            clock.now += 50 if batch_idx == 0 else step_s  # the first step compiles, say
            callback.on_train_batch_end(trainer, None, None, None, batch_idx)
    return [record.message for record in caplog.records]


def test_it_is_told_once_from_the_steady_steps(clock: Clock, caplog: Any) -> None:
    """10 epochs of 100 batches of 2 s, validation at a third of 30: 1,000 x 1.1 x 2 s."""
    (line,) = told(clock, caplog, step_s=2)
    assert line.startswith("forecast: about 36 min; to shorten: a GPU, ")


def test_a_short_run_is_not_told(clock: Clock, caplog: Any) -> None:
    """Under five minutes nobody needs a forecast."""
    assert told(clock, caplog, step_s=0.1, steps=100) == []


def test_max_steps_and_accumulation_bound_it(clock: Clock, caplog: Any) -> None:
    """200 optimizer steps of 4 batches each are 800 batches."""
    (line,) = told(clock, caplog, step_s=2, max_epochs=-1, max_steps=200, accumulate_grad_batches=4)
    assert "about 29 min" in line


def test_a_run_without_an_end_has_no_forecast(clock: Clock, caplog: Any) -> None:
    """Nothing is said about what nobody can know."""
    assert told(clock, caplog, step_s=2, max_epochs=-1) == []


def test_short_epochs_are_measured_across_their_borders(clock: Clock, caplog: Any) -> None:
    """Epochs of two batches and a validation: the whole of an epoch is what repeats."""
    trainer = fake_trainer(num_training_batches=2, num_val_batches=[1], max_epochs=1000)
    callback = RuntimeEstimator()
    with caplog.at_level(logging.INFO, logger="hpml"):
        callback.on_train_start(trainer, None)
        for epoch in range(5):
            trainer.current_epoch = epoch
            for batch_idx in range(2):
                clock.now += 1
                callback.on_train_batch_end(trainer, None, None, None, batch_idx)
            clock.now += 2
            callback.on_validation_end(trainer, None)
    (line,) = [record.message for record in caplog.records]
    # told after 7 batches and 3 validations: 5 batches took 9 s (2 validations, 5 batches)
    assert "about 1 h" in line
