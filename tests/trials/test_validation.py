"""What a validation costs, by the first batches of each of its loaders."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers.delays import VirtualClock
from helpers.jobs import Convolutional, Images, trainer
from helpers.ranks import Threads, in_threads
from helpers.snapshots import everything
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader

from hpml.timing.epoch_times import NS_PER_S
from hpml.trials import validation
from hpml.trials.intervention import Intervention
from hpml.trials.subject import Subject
from hpml.trials.validation import Validating, Validation, checks_an_epoch, validation_of


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
        assert found is not None
        again = Validating(loader, 4, found.ahead).seconds(subject, Intervention())
    subject.close()
    assert again > 0
    assert [len(look.loaders[0].ends) for look in looks] == [4, 6, 6]  # a trial knows it already
    ends = looks[1].loaders[0].ends
    assert found.batch_s == pytest.approx((ends[5] - ends[2]) / 3)
    assert (found.batches, found.looked_at) == (9, 4)


@dataclass(eq=False)
class Costly:
    """Its batches take so many seconds each, but those that are ready, and its start too."""

    clock: VirtualClock
    batches: int
    batch_s: int
    start_s: int
    ready: int = 0
    persistent_workers: bool = False

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        self.clock.spend(self.start_s * NS_PER_S)
        for number in range(self.batches):
            self.clock.spend(self.batch_s * NS_PER_S * (number >= self.ready))
            yield torch.zeros(1)


class Idle(Convolutional):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """What a batch costs is its loader's."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    monkeypatch.setattr(validation, "batches_ahead", lambda loader: loader.ready)
    return VirtualClock().install(monkeypatch)


def check_of(loaders: Any, folder: Path, limit: int | float = 1.0) -> Validation | None:
    subject = Subject(trainer(folder, limit_val_batches=limit), Idle(2), images(3))
    subject.fit(Intervention(), 0, 1, seed=0)
    found = validation_of(subject, loaders)
    subject.close()
    return found


# A loader that is quick: what it has, its batches in a check, and seconds of them all.
QUICK: dict[str, tuple[dict[str, Any], int, int]] = {
    "that starts at each check": ({}, 9, 100 + 9),
    "that persists": ({"persistent_workers": True}, 9, 9),
    "with some ready": ({"ready": 3}, 9, 100 + 6),
    "of a single batch": ({"batches": 1}, 1, 100 + 1),
    "without any": ({"batches": 0}, 0, 0),
}


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("name", QUICK)
def test_each_loader_counts_by_its_own_pace(
    name: str, is_first: bool, clock: VirtualClock, tmp_path: Path
) -> None:
    """Beside a slow one, whichever is validated first."""
    given, batches, quick_s = QUICK[name]
    loaders = [Costly(clock, **{"batches": 9, "batch_s": 1, "start_s": 100} | given)]
    loaders.insert(is_first, Costly(clock, 8, 10, start_s=300, ready=2))
    found = check_of(loaders, tmp_path)
    assert found is not None
    assert (found.batches, found.loaders) == (batches + 8, 1 + (batches > 0))
    assert found.check_s == pytest.approx(quick_s + 300 + 6 * 10)


@pytest.mark.parametrize(("limit", "seconds"), [(3, 3 + 30), (0.5, 4 + 40), (1.0, 9 + 80)])
def test_a_limit_is_of_each_loader(
    limit: int | float, seconds: int, clock: VirtualClock, tmp_path: Path
) -> None:
    """As Lightning has it."""
    found = check_of([Costly(clock, 9, 1, 100), Costly(clock, 8, 10, 300)], tmp_path, limit)
    assert found is not None
    assert found.check_s == pytest.approx(seconds + 400)


def test_a_limit_of_nothing_is_no_validation(clock: VirtualClock, tmp_path: Path) -> None:
    assert check_of([Costly(clock, 9, 1, 100)], tmp_path, 0) is None


@pytest.mark.parametrize(("mode", "batches"), [("min_size", 5), ("max_size_cycle", 9)])
def test_loaders_that_give_batches_together_are_one(
    mode: Any, batches: int, clock: VirtualClock, tmp_path: Path
) -> None:
    """As long as the mode has them."""
    both = [Costly(clock, 9, 1, 100), Costly(clock, 5, 10, 300)]
    found = check_of(CombinedLoader(both, mode), tmp_path)
    assert found is not None
    assert (found.batches, found.check_s) == (batches, pytest.approx(batches * 11 + 400))


def test_ranks_of_which_one_has_workers_look_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look has exchanges of Lightning's; the slowest one's figures are all's."""
    looks: list[tuple[int, int]] = []

    def look(subject: Any, given: Any, intervention: Any, batches: int) -> Any:
        rank = subject.agreement.rank
        looks.append((rank, batches))
        ends = [(rank + 1.0) * batch for batch in range(batches)]
        return validation._Seen([validation._Loader(9, False, ends)], ahead=2 * rank)

    def work(agreement: Threads) -> Any:
        subject: Any = SimpleNamespace(agreement=agreement)
        return validation_of(subject)

    monkeypatch.setattr(validation, "_validated", look)
    assert in_threads(2, work) == [Validation(2.0, batches=9, looked_at=4, ahead=2)] * 2
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
