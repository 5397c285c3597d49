import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpml.callbacks import RuntimeEstimator, runtime_estimator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only the test moves."""
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(runtime_estimator, "time", clock)
    return clock


def fake_trainer(**changes: Any) -> Any:
    batches = {"num_training_batches": 100, "num_val_batches": [30], "accumulate_grad_batches": 1}
    ends = {"max_epochs": 10, "max_steps": -1, "current_epoch": 0, "global_step": 0}
    rest = {"sanity_checking": False, "is_global_zero": True, "callbacks": []}
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(**batches | ends | rest | {"strategy": strategy} | changes)


def lines(clock: Any, caplog: Any, step_s: float, steps: int = 20, **changes: Any) -> list[str]:
    """What is logged in a fit whose first step takes 50 s, since it compiles, say."""
    trainer, callback = fake_trainer(**changes), RuntimeEstimator()
    with caplog.at_level(logging.INFO, logger="hpml"):
        callback.on_train_start(trainer, None)
        for batch_idx in range(steps):
            clock.now += 50 if batch_idx == 0 else step_s
            callback.on_train_batch_end(trainer, None, None, None, batch_idx)
    return [record.message for record in caplog.records]


STEPS = {"max_epochs": -1, "max_steps": 200, "accumulate_grad_batches": 4}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # 10 epochs of 100 batches of 2 s, validation at a third of 30: 1,000 x 1.1 x 2 s
        ({"step_s": 2}, ["forecast: about 36 min; to shorten: a GPU"]),
        # 200 optimizer steps of 4 batches each are 800 batches
        ({"step_s": 2, **STEPS}, ["forecast: about 29 min"]),
        # under five minutes nobody needs an estimate, and without an end there is none
        ({"step_s": 0.1, "steps": 100}, []),
        ({"step_s": 2, "max_epochs": -1}, []),
    ],
)
def test_one_line_from_the_steady_steps(
    clock: Any, caplog: Any, changes: dict[str, Any], expected: list[str]
) -> None:
    """At most once, bounded by epochs and by steps."""
    found = lines(clock, caplog, **changes)
    assert [line[: len(text)] for line, text in zip(found, expected, strict=True)] == expected


def test_short_epochs_are_measured_across_their_borders(clock: Any, caplog: Any) -> None:
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
    # after 7 batches and 3 validations: 5 batches took 9 s (2 validations, 5 batches)
    assert "about 1 h" in line
