"""Where a Trainer takes a part of an epoch's batches, none beyond them are made."""

from multiprocessing import Value
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.jobs import trainer
from helpers.pipelines import batches, make_data, same
from torch import Tensor

from hpml.callbacks import phase_timers
from hpml.data.pipelines import Split
from hpml.trials.intervention import Intervention
from hpml.trials.subject import Subject


class Counted(Split):
    """Counts in all processes how many samples it is asked for."""

    def batch(self, keys: list[int]) -> Any:
        with self.made.get_lock():
            self.made.value += len(keys)
        return super().batch(keys)


class Module(L.LightningModule):
    """Keeps the batches that it trains with, and counts the samples of all."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.used = 0
        self.trained: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.trained.append(batch)
        return self.scale * self.validation_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        self.used += len(labels)
        return images.mean()

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def counted(**settings: Any) -> tuple[Any, Any]:
    """Ten training batches of 8 and five to test; how many samples were made of all of them."""
    data, made = make_data(train_samples=80, test_samples=40, batch_size=8, **settings), Value("i")
    for name in ("train", "val", "test"):
        if (split := getattr(data, name)) is not None:
            own = Counted(split.source, split.indices, split.drawing)
            own.made = made
            setattr(data, name, own)
    return data, made


@pytest.mark.parametrize(
    ("pipeline", "num_workers"),
    [*((name, n) for name in ("per_sample", "batched") for n in (0, 1, 2, 4)), ("device", 0)],
)
def test_no_batch_is_made_that_nobody_uses(pipeline: Any, num_workers: int, tmp_path: Path) -> None:
    """Samples made are samples used, and the batches those that begin each whole epoch."""
    data, made = counted(pipeline=pipeline, num_workers=num_workers)
    module = Module()
    trainer(tmp_path, max_epochs=3, limit_train_batches=3).fit(module, datamodule=data)
    assert made.value == module.used == 3 * 3 * 8
    whole = batches(make_data(train_samples=80, batch_size=8), epochs=3)
    assert same(module.trained, whole[:3] + whole[10:13] + whole[20:23])


@pytest.mark.parametrize(
    ("limits", "used"),
    [
        ({"limit_train_batches": 0.34}, 2 * 3 + 2 * 5),
        ({"limit_train_batches": 1}, 2 * 1 + 2 * 5),
        ({"limit_train_batches": 99}, 2 * 10 + 2 * 5),
        ({"limit_val_batches": 2}, 2 * 10 + 2 * 2),
        ({"limit_val_batches": 0.4, "num_sanity_val_steps": 1}, 2 * 10 + 2 * 2 + 1),
        ({"num_sanity_val_steps": 2}, 2 * 10 + 2 * 5 + 2),
        ({"num_sanity_val_steps": -1}, 2 * 10 + 2 * 5 + 5),
        ({"limit_train_batches": 3, "val_check_interval": 1}, 2 * 3 + 2 * 3 * 5),
        ({"overfit_batches": 2}, 2 * 2 + 2 * 2),
        ({"overfit_batches": 0.3}, 2 * 3 + 2 * 1),
        ({"fast_dev_run": 2}, 2 + 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("persistent_workers", [True, False])
def test_each_kind_of_limit(
    limits: Any, used: int, persistent_workers: bool, tmp_path: Path
) -> None:
    """Training, validation and its check before training; numbers and parts of the batches."""
    data, made = counted(num_workers=2, persistent_workers=persistent_workers)
    module = Module()
    settings = {"max_epochs": 2, "limit_val_batches": 1.0, "num_sanity_val_steps": 0} | limits
    trainer(tmp_path, **settings).fit(module, datamodule=data)
    assert made.value == module.used == used * 8


def test_a_test_has_its_own_limit(tmp_path: Path) -> None:
    """Of validation and test each has the limit of its own, also where both are of the test set."""
    data, made = counted(num_workers=2)
    module = Module()
    limited = trainer(tmp_path, limit_test_batches=3, limit_val_batches=2)
    limited.test(module, datamodule=data, verbose=False)
    assert made.value == module.used == 3 * 8
    limited.validate(module, datamodule=data, verbose=False)
    assert made.value == module.used == (3 + 2) * 8


def test_overfitting_repeats_the_first_batches(tmp_path: Path) -> None:
    """The samples as they lie, with the crops of the first epoch, in every epoch."""
    data, _ = counted()
    module = Module()
    trainer(tmp_path, max_epochs=2, overfit_batches=2).fit(module, datamodule=data)
    plain = make_data(train_samples=80, batch_size=8)
    first = [plain.train_dataloader().dataset.__getitems__(list(range(n, n + 8))) for n in (0, 8)]
    expected = [plain.on_after_batch_transfer(batch, 0) for batch in first]
    assert same(module.trained, expected * 2)


class ByHand(L.Callback):
    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        self.test = len(list(trainer.datamodule.test_dataloader()))

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.train = len(list(trainer.datamodule.train_dataloader()))


def test_nothing_is_said_of_batches_that_are_not_made(tmp_path: Path, capsys: Any) -> None:
    """The timers note unused batches of loaders of others; ours make none."""
    limited = trainer(
        tmp_path, limit_train_batches=3, limit_val_batches=2, callbacks=phase_timers()
    )
    limited.fit(Module(), datamodule=make_data(num_workers=2, batch_size=8))
    out = capsys.readouterr().out
    assert "epoch" in out
    assert "unused" not in out


def test_a_loader_that_is_asked_for_by_hand_is_whole(tmp_path: Path) -> None:
    """A callback that looks at all of the data finds all of it, whatever the Trainer's limits."""
    by_hand, data = ByHand(), make_data(train_samples=80, test_samples=40, batch_size=8)
    limits: Any = {f"limit_{name}_batches": 2 for name in ("train", "val", "test")}
    trainer(tmp_path, callbacks=[by_hand], **limits).fit(Module(), datamodule=data)
    assert (by_hand.train, by_hand.test) == (10, 5)
    assert len(list(data.train_dataloader())) == 10


def test_lightning_reckons_with_all_of_them(tmp_path: Path) -> None:
    """A loader's length is that of the whole epoch, of which Lightning takes its part itself."""
    data = make_data(train_samples=80, test_samples=40, batch_size=8)
    half = trainer(tmp_path, limit_train_batches=0.5, limit_val_batches=0.5)
    half.fit(Module(), datamodule=data)
    assert (len(half.train_dataloader), half.num_training_batches) == (10, 5)
    assert (len(half.val_dataloaders), half.num_val_batches) == (5, [2])


@pytest.mark.parametrize("measure", ["load", "fit"])
def test_trials_make_what_the_training_makes(measure: str, tmp_path: Path) -> None:
    """Short fits and the loader alone pass through epochs as short as the training's own."""
    data, made = counted(num_workers=2)
    limited = trainer(tmp_path, limit_train_batches=3)
    subject = Subject(limited, Module(), data)
    assert subject.loading().ahead == 4
    assert (subject.epoch_steps, subject.data.surplus, subject.notes) == (3, 0, [])
    if measure == "fit":  # five steps, and the one that ends the last: two epochs
        subject.fit(Intervention(), 1, 4, seed=0)
        assert made.value == 2 * 3 * 8
    else:  # and one epoch more, whose start is measured
        subject.load(1, 4, seed=0)
        assert made.value <= 3 * 3 * 8
    subject.close()


@pytest.mark.parametrize(
    ("steps", "limit", "persistent_workers", "ours", "theirs"),
    [
        (4, 3, True, 2, 0),  # one batch of an epoch of three is taken; theirs always leaves four
        (5, 3, True, 1, 0),
        (6, 3, True, 0, 0),
        (5, 9, True, 4, 3),  # theirs has ten batches: after nine there is one
        (5, 1.0, True, 4, 4),
        (8, 1.0, True, 2, 2),
        (4, 3, False, 0, 0),  # new workers in each epoch
    ],
)
def test_what_a_new_epoch_waits_for(
    steps: int, limit: Any, persistent_workers: bool, ours: int, theirs: int, tmp_path: Path
) -> None:
    """Batches that are ready beyond those that each epoch leaves, of the loader alone."""
    for own, expected in ((True, ours), (False, theirs)):
        data, _ = counted(num_workers=2, persistent_workers=persistent_workers)
        given = data if own else data.train_dataloader()
        subject = Subject(trainer(tmp_path, limit_train_batches=limit), Module(), given)
        subject.loading()
        subject.data.new_loader(subject.trainer, subject._module)
        assert subject.data.left_ahead(steps) == expected
        subject.close()
