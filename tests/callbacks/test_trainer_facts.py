"""What a Trainer's limit has workers load for nobody, in numbers and in words."""

import math
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import trainer
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset, RandomIterableDataset
from torch.utils.data import DataLoader

from hpml.callbacks import phase_timers
from hpml.callbacks.trainer_facts import surplus
from hpml.records.run_record import RunRecord

TRAINING = "limit_train_batches=3: workers also load up to 4 unused batches an epoch"
VALIDATION = "limit_val_batches=9: workers also load up to 1 unused batch a validation"
OVERFITTING = "overfit_batches=2: workers also load up to 4 unused batches an epoch"


def rows(count: int = 10, **settings: Any) -> Any:
    return DataLoader(RandomDataset(32, count), **settings)


@pytest.mark.parametrize(
    ("loader", "steps", "batches"),
    [
        (rows(num_workers=2), 3, 4),
        (rows(num_workers=2), 8, 2),
        (rows(num_workers=2), 10, 0),
        (rows(num_workers=2, prefetch_factor=1), 3, 2),
        (rows(num_workers=2, batch_size=4), 1, 2),
        (rows(), 3, 0),
        (DataLoader(RandomIterableDataset(32, 10), num_workers=2), 3, 4),
        (DataLoader(RandomIterableDataset(32, 10), num_workers=2), math.inf, 0),
        ([0, 1, 2], 1, 0),
    ],
)
def test_what_workers_load_beyond_a_limit(loader: Any, steps: float, batches: int) -> None:
    """As many as they keep ready, as far as there are so many; none of a loader without workers."""
    assert surplus(loader, steps) == batches


@pytest.mark.parametrize(
    ("settings", "workers", "said"),
    [
        ({"limit_train_batches": 3}, 2, [TRAINING]),
        ({"limit_train_batches": 3, "limit_val_batches": 9}, 2, [TRAINING, VALIDATION]),
        ({"overfit_batches": 2}, 2, [OVERFITTING, OVERFITTING.replace("an epoch", "a validation")]),
        ({"limit_train_batches": 3}, 0, []),
        ({}, 2, []),
    ],
    ids=str,
)
def test_the_times_say_once_that_they_hold_it(
    settings: Any, workers: int, said: list[str], tmp_path: Path, capsys: Any
) -> None:
    """Below the verdict, and in the record with it; nothing where nothing is made."""
    timers = phase_timers(record=tmp_path / "record")
    fit = trainer(tmp_path, max_epochs=3, callbacks=timers, **{"limit_val_batches": 1.0} | settings)
    fit.fit(BoringModel(), rows(num_workers=workers), rows(num_workers=workers))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    sentences = [f"{sentence}; the times hold that" for sentence in said]
    assert [line for line in lines if "unused" in line] == sentences
    note = RunRecord.read(tmp_path / "record").verdict.get("note")
    assert note == ("; ".join(sentences) or None)
