"""Validation of a job under tuning: whether trials time it, and what is tried of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.jobs import Convolutional, Images, trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader, IterableDataset

from hpml.trials import validation
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace
from hpml.trials.subject import Subject
from hpml.trials.validation import Validating, Validation
from hpml.tuning import epoch_validation as room
from hpml.tuning.change import NONE
from hpml.tuning.changes.less_often import of_validation, seldom_enough
from hpml.tuning.epoch_validation import EpochValidation, epoch_validation
from hpml.tuning.trials_with_changes import Foreign, Trials

EVERY_5TH = "check_val_every_n_epoch=5"


def images(batches: int) -> Any:
    return DataLoader(Images(8 * batches), 8)


class Validated(Convolutional):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", super().training_step(batch, batch_idx))

    def val_dataloader(self) -> Any:
        return images(7)


class Waiting(Validated):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": schedule, "monitor": "val_loss"}


def subject_of(folder: Path, module: Any = None, **settings: Any) -> Subject:
    given = {"max_epochs": 20, "limit_val_batches": 1.0} | settings
    subject = Subject(trainer(folder, **given), module or Validated(2), images(3))
    subject.loading()
    subject.fit(Intervention(), 0, 1, seed=0)
    return subject


def looked_at(
    subject: Subject, epoch_s: float = 4.5, is_ours: bool = False, also: tuple[str, ...] = ()
) -> EpochValidation:
    """Of an epoch of so many seconds, to which validation adds 2 s."""
    return epoch_validation(subject, None, epoch_s, 0.4, is_ours, also)


@pytest.fixture(autouse=True)
def _two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "validation_of", lambda subject, given: Validation(0.1, 20, 4))


STOPS: dict[str, Any] = {"callbacks": [EarlyStopping("val_loss")]}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool, list[str]]] = {
    "much": ({}, {}, True, [EVERY_5TH]),
    "much of ours": ({}, {"is_ours": True}, True, [f"trainer.{EVERY_5TH}"]),
    "little": ({}, {"epoch_s": 30.0}, False, []),
    "seldom already": ({"check_val_every_n_epoch": 10}, {}, False, []),
    "few epochs": ({"max_epochs": 4}, {}, True, ["check_val_every_n_epoch=2"]),
    "a single one": ({"max_epochs": 1}, {}, True, []),
    "no end": ({"max_epochs": -1}, {}, True, [EVERY_5TH]),
    "an early stop": (STOPS, {}, True, []),
    "that is asked for": (STOPS, {"also": ("validation",)}, True, [EVERY_5TH]),
    "a schedule": ({"module": Waiting(2)}, {}, True, []),
    "its name": ({"module": Waiting(2)}, {"also": (EVERY_5TH,)}, True, [EVERY_5TH]),
    "none": ({"limit_val_batches": 0}, {}, False, []),
    "by steps": ({"val_check_interval": 2}, {}, False, []),
}


@pytest.mark.parametrize("name", CASES)
def test_validation_is_timed_where_it_is_much(name: str, tmp_path: Path) -> None:
    """And fewer checks are tried, where the training does not wait for them."""
    settings, given, is_timed, changes = CASES[name]
    found = looked_at(subject_of(tmp_path, **settings), **given)
    assert (found.timed is not None) == is_timed
    assert [change.name for change in found.changes] == changes
    assert (found.proving is None) == (name in ("none", "by steps"))
    if found.timed is not None:
        assert found.timed.batches == 4  # half of a trial's 0.4 s would be two
        assert found.seconds == 2.0
        assert found.proving is found.timed


def test_how_seldom_is_enough() -> None:
    """The first that adds less than a tenth; the last one where none does."""
    for (check_s, checks, epoch_s), every in {
        (2.0, 1.0, 4.0): 10, (1.0, 1.0, 4.0): 5, (0.5, 1.0, 4.0): 2, (9.0, 1.0, 4.0): 10,
        (0.3, 1.0, 4.0): None, (9.0, 0.1, 4.0): None, (2.0, 0.5, 4.0): 10,
    }.items():  # fmt: skip
        assert seldom_enough(check_s, checks, epoch_s) == every
    for epochs, every in {-1: 10, 10: 10, 9: 5, 4: 2, 1: None, 0: None}.items():
        assert seldom_enough(9.0, 1.0, 4.0, epochs) == every


def test_what_is_advised_is_what_would_be_tried(tmp_path: Path) -> None:
    """As often as the training has epochs for, beside what an epoch takes in the end."""
    for settings, name, is_another in (
        ({}, "check_val_every_n_epoch=10", False),
        ({"max_epochs": 4}, "check_val_every_n_epoch=2", False),
        (STOPS, "check_val_every_n_epoch=10", True),
    ):
        found = looked_at(subject_of(tmp_path, **settings), epoch_s=30.0)
        change = found.fewer(1.0)
        assert change is not None
        assert (change.name, change.only_asked) == (name, is_another)
        assert found.fewer(30.0) is None
    assert looked_at(subject_of(tmp_path, max_epochs=1)).fewer(1.0) is None


def test_each_of_several_loaders_has_its_part_of_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a trial's time is for all of them, past what their workers keep ready."""
    seen = Validation(0.1, 100, 8, loaders=2, ahead=3)
    monkeypatch.setattr(room, "validation_of", lambda subject, given: seen)
    found = epoch_validation(subject_of(tmp_path), None, 4.5, 3.0, False, ())
    assert found.timed == Validating(None, 8, ahead=3)  # of 15 in 1.5 s


def test_what_an_epoch_is_timed_without_is_told(tmp_path: Path) -> None:
    """Validation that does not come at its end; not where there is none."""
    by_steps = subject_of(tmp_path, val_check_interval=2)
    looked_at(by_steps)
    assert by_steps.notes == [room.LEFT_OUT]
    for module, settings in ((Loaderless(2), {"limit_val_batches": 0}), (Convolutional(2), {})):
        subject = subject_of(tmp_path, module, **settings)
        looked_at(subject)
        assert subject.notes == []


class Loaderless(Convolutional):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


def test_why_validation_is_left_out_is_the_true_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that nothing tells the end of; a validation of no length; one that nobody loads."""
    endless = subject_of(tmp_path)
    endless.data.epoch_steps = None
    looked_at(endless)
    assert endless.notes == [room.ENDLESS]
    for settings in ({"val_check_interval": 2}, {}):
        loaderless = subject_of(tmp_path, Loaderless(2), **settings)
        loaderless.data.epoch_steps = None
        looked_at(loaderless)
        assert loaderless.notes == [room.UNLOADED]
    monkeypatch.setattr(room, "validation_of", validation.validation_of)
    stream = subject_of(tmp_path)
    assert (
        epoch_validation(stream, DataLoader(Stream(), 8), 4.5, 0.4, False, ()) == EpochValidation()
    )
    why = "nothing tells how many batches it has"
    assert stream.notes == [f"validation could not be looked at ({why})"]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        images = Images(24)
        return (images[number] for number in range(24))


def test_a_validation_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the times are of training alone."""

    def failing(subject: Any, given: Any) -> Any:
        raise RuntimeError("no such file")

    monkeypatch.setattr(room, "validation_of", failing)
    subject = subject_of(tmp_path)
    assert looked_at(subject) == EpochValidation()
    assert subject.notes == ["validation could not be looked at (no such file)"]


def test_a_trials_epoch_has_its_part_of_a_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole one, or a fifth where every fifth epoch has one; a fit may follow."""
    looks = []

    def look(subject: Any, given: Any, intervention: Any, batches: int, ahead: int) -> Validation:
        assert ahead == 2
        looks.append((given, batches, intervention.settings.check_every))
        return validated(subject, given, intervention, batches) and Validation(0.1, 20, batches)

    validated = validation.validation_of
    monkeypatch.setattr(validation, "validation_of", look)
    subject, validating = subject_of(tmp_path), Validating(None, 3, ahead=2)
    trials = Trials(Foreign(subject), 0.0, Pace(1.0, 0.0, None), None, 0, validating)
    change = of_validation(subject, 5, is_ours=False)
    for changes, seconds in ((NONE, 2.0), (frozenset({change}), 0.4)):
        timed = trials(changes)(0)
        assert timed.checks_s == pytest.approx(seconds)
        assert timed.epoch_s == pytest.approx(3 * timed.pace.step_s + seconds)
    assert looks == [(None, 3, 0), (None, 3, 5)]
