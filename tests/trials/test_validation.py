"""What a validation costs, by its first batches."""

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from helpers.jobs import Convolutional, Images, trainer
from helpers.ranks import Threads, in_threads
from helpers.snapshots import everything
from torch.utils.data import DataLoader

from hpml.trials import validation
from hpml.trials.intervention import Intervention
from hpml.trials.subject import Subject
from hpml.trials.validation import Validation, checks_an_epoch, validation_of


def images(batches: int) -> Any:
    return DataLoader(Images(8 * batches), 8)


class Validated(Convolutional):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", super().training_step(batch, batch_idx))


class WithOwnData(Validated):
    def val_dataloader(self) -> Any:
        return images(7)


class Module(L.LightningDataModule):
    """With a validation of two loaders."""

    def train_dataloader(self) -> Any:
        return images(3)

    def val_dataloader(self) -> Any:
        return [images(5), images(6)]


ALL: dict[str, Any] = {"limit_val_batches": 1.0}
CASES: dict[str, tuple[Any, Any, Any, dict[str, Any], int | None]] = {
    "the module's": (WithOwnData(2), images(3), None, ALL, 7),
    "the data module's": (Validated(2), Module(), None, ALL, 11),
    "given": (Validated(2), images(3), images(9), ALL, 9),
    "a limited one": (WithOwnData(2), images(3), None, {"limit_val_batches": 5}, 5),
    "no step": (Convolutional(2), Module(), None, ALL, None),
    "no data": (Validated(2), images(3), None, ALL, None),
    "a single batch": (Validated(2), images(3), images(1), ALL, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_a_validation_is_looked_at_and_all_is_left_as_it_was(name: str, tmp_path: Path) -> None:
    """Its batches, whoever gives them; None where there is nothing to look at."""
    module, data, given, settings, batches = CASES[name]
    job = trainer(tmp_path, **settings), module, data
    before = everything(job, tmp_path)
    subject = Subject(*job)
    subject.fit(Intervention(), 0, 1, seed=0)
    found = validation_of(subject, given)
    subject.close()
    gc.collect()
    after = everything(job, tmp_path)
    assert not {key for key, was in before.items() if was != after[key]}
    assert (found and found.batches) == batches
    if found is not None:
        assert found.check_s == found.batches * found.batch_s + found.once_s > 0


def test_batches_that_workers_have_ready_do_not_count(tmp_path: Path) -> None:
    """Those behind them are timed: of a worker that keeps two ready, those from the third on."""
    loader: Any = DataLoader(Images(8 * 9), 8, num_workers=1)
    subject = Subject(trainer(tmp_path, **ALL), Validated(2), images(3))
    subject.fit(Intervention(), 0, 1, seed=0)
    looks: list[Any] = []
    own = validation._look
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_look", lambda *a: looks.append(own(*a)) or looks[-1])
        found = validation_of(subject, loader)
    subject.close()
    assert [len(look.ends) for look in looks] == [4, 6]
    assert found is not None
    ends = looks[1].ends
    assert found.batch_s == pytest.approx((ends[5] - ends[2]) / 3)
    assert (found.batches, found.looked_at) == (9, 4)


def test_ranks_of_which_one_has_workers_look_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look has exchanges of Lightning's; the slowest one's figures are all's."""
    looks: list[tuple[int, int]] = []

    def look(subject: Any, given: Any, intervention: Any, batches: int) -> Any:
        rank = subject.agreement.rank
        looks.append((rank, batches))
        ends = [(rank + 1.0) * batch for batch in range(batches)]
        return validation._Seen(ends, lengths=[9], ahead=2 * rank)

    def work(agreement: Threads) -> Any:
        subject: Any = SimpleNamespace(agreement=agreement)
        return validation_of(subject)

    monkeypatch.setattr(validation, "_validated", look)
    assert in_threads(2, work) == [Validation(batch_s=2.0, batches=9, looked_at=4)] * 2
    assert sorted(looks) == [(0, 4), (0, 6), (1, 4), (1, 6)]


def test_how_often_an_epoch_is_validated(tmp_path: Path) -> None:
    """By the Trainer's arguments; unknown where it is by steps, or not at all."""
    cases: list[tuple[dict[str, Any], float | None]] = [
        ({}, 1.0),
        ({"check_val_every_n_epoch": 4}, 0.25),
        ({"val_check_interval": 0.5}, None),
        ({"check_val_every_n_epoch": None, "val_check_interval": 10}, None),
        ({"limit_val_batches": 0}, None),
        ({"val_check_interval": "00:01:00:00"}, None),
    ]
    for settings, checks in cases:
        assert checks_an_epoch(trainer(tmp_path, **ALL | settings)) == checks
