"""How many checkpoints an epoch writes, beside what Lightning's ModelCheckpoint does write."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.jobs import trainer
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader

from hpml.trials.pace import Pace, Timed
from hpml.trials.subject import Subject
from hpml.tuning import trials_with_changes
from hpml.tuning.change import NONE
from hpml.tuning.epoch_trials import Saving
from hpml.tuning.fewer_checkpoints import OURS, advice

STEPS, EPOCHS = 6, 4


class Counted(TorchCheckpointIO):
    """Writes them, and counts."""

    files = 0

    def save_checkpoint(self, *given: Any, **named: Any) -> None:
        self.files += 1
        super().save_checkpoint(*given, **named)


class Better(L.LightningModule):
    """What it logs is better each time."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.score = torch.nn.Linear(1, 1), 0.0

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.score -= 1.0
        self.log("score", self.score)
        loss: torch.Tensor = self.network(batch).mean()
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing is done in it."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


CHECKED = {"limit_val_batches": 1.0}
SELDOM = CHECKED | {"check_val_every_n_epoch": 2}
# Of ModelCheckpoint, of the Trainer; files in EPOCHS.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "one": ({}, {}, 4),
    "the best ones": ({"save_top_k": 2, "monitor": "score"}, {}, 4),
    "all": ({"save_top_k": -1}, {}, 4),
    "none": ({"save_top_k": 0}, {}, 0),
    "no last one": ({"save_last": False}, {}, 4),
    "a last one": ({"save_last": True}, {}, 8),
    "a last one that is a link": ({"save_last": "link"}, {}, 4),
    "all and a last one": ({"save_top_k": -1, "save_last": True}, {}, 8),
    "seldom": ({"every_n_epochs": 2, "save_last": True}, {}, 4),
    "seldom with a link": ({"every_n_epochs": 2, "save_last": "link"}, {}, 2),
    "the last one alone": ({"save_top_k": 0, "save_last": True}, {}, 0),
    "the last one alone as a link": ({"save_top_k": 0, "save_last": "link"}, {}, 0),
    "by steps": ({"every_n_train_steps": 4}, {}, 6),
    "by steps with a last one": ({"every_n_train_steps": 4, "save_last": True}, {}, 12),
    "by steps with a link": ({"every_n_train_steps": 4, "save_last": "link"}, {}, 6),
    "by steps the last one alone": (
        {"every_n_train_steps": 4, "save_top_k": 0, "save_last": True}, {}, 6,
    ),
    "by steps the last one alone as a link": (
        {"every_n_train_steps": 4, "save_top_k": 0, "save_last": "link"}, {}, 8,
    ),
    "by steps that a validation ends": (
        {"every_n_train_steps": 4, "save_top_k": 0, "save_last": "link"}, SELDOM, 6,
    ),
    "by fewer steps": (
        {"every_n_train_steps": 2}, {"accumulate_grad_batches": 4}, 4,
    ),
    "at a validation": ({"save_last": True}, SELDOM, 4),
    "at each of several": ({"save_last": "link"}, CHECKED | {"val_check_interval": 0.5}, 8),
    "at validation's end": (
        {"save_on_train_epoch_end": False, "save_last": True}, CHECKED, 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_many_are_counted_as_lightning_writes(name: str, tmp_path: Path) -> None:
    """In whole epochs, without what the training's end writes."""
    own, given, files = CASES[name]
    written: list[int] = []
    count = LambdaCallback(on_train_end=lambda *_: written.append(disk.files))
    saving, disk = ModelCheckpoint(tmp_path / "saved", **own), Counted()
    settings: dict[str, Any] = {"callbacks": [count, saving], "plugins": [disk]}
    settings |= {"enable_checkpointing": True, "max_epochs": EPOCHS, "num_sanity_val_steps": 0}
    fitting, module = trainer(tmp_path, **settings | given), Better()
    loader: Any = DataLoader(torch.zeros(STEPS, 1))
    found = Saving.of(fitting, STEPS, is_validated="limit_val_batches" in given)
    fitting.fit(module, loader, loader)
    assert written == [files]
    assert found.times * EPOCHS == pytest.approx(files)


def times(saved_s: float, epoch_s: float = 10.0) -> Timed:
    return Timed(epoch_s, Pace(0.1, 0.0, None), once_s=saved_s, saved_s=saved_s)


LOSES = "a crash then loses up to {}, and of those between none is kept as the best"
ADVICE: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "each epoch": (
        [{}],
        {},
        "ModelCheckpoint(every_n_epochs=10) would save 3.60 s: " + LOSES.format("10 epochs"),
    ),
    "of a few epochs": (
        [{}],
        {"max_epochs": 3},
        "ModelCheckpoint(every_n_epochs=2) would save 2.00 s: " + LOSES.format("2 epochs"),
    ),
    "by steps": (
        [{"every_n_train_steps": 3}],
        {},
        "ModelCheckpoint(every_n_train_steps=30) would save 3.60 s: " + LOSES.format("30 steps"),
    ),
    "with a last one": (
        [{"save_last": True}],
        {"max_epochs": 1},
        'save_last="link" would save 2.00 s: last.ckpt is then a link to what was kept last',
    ),
    "of two the one that writes most": (
        [{"every_n_epochs": 3}, {}],
        {},
        "ModelCheckpoint(every_n_epochs=10) would save 2.70 s: " + LOSES.format("10 epochs"),
    ),
    "a single epoch": ([{}], {"max_epochs": 1}, ""),
    "as seldom as validation": (
        [{}],
        SELDOM | {"max_epochs": 3},
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVICE)
def test_what_fewer_checkpoints_would_save_is_told(name: str, tmp_path: Path) -> None:
    """With its price, where they are much of an epoch: here 4 of 10 s."""
    own, given, ways = ADVICE[name]
    saving = [ModelCheckpoint(tmp_path / str(n), **each) for n, each in enumerate(own)]
    settings: dict[str, Any] = {"enable_checkpointing": True, "max_epochs": 20, "callbacks": saving}
    data: Any = DataLoader(torch.zeros(STEPS, 1))
    subject = Subject(trainer(tmp_path, **settings | given), Better(), data)
    subject.loading()
    takes = "checkpoints take 4.00 s of an epoch"
    assert advice(subject, [times(4.0), times(4.5, 11.0)], False) == [
        f"{takes}; {ways}" if ways else takes
    ]
    assert advice(subject, [times(4.0), times(4.0)], True) == [f"{takes}; {OURS}"]
    assert advice(subject, [times(0.9), times(0.8)], False) == []
    assert advice(subject, [times(4.0)], False) == []  # what it imports may be in it
    assert advice(subject, [times(0.0)], False) == advice(subject, [], False) == []


@pytest.mark.parametrize(("saved_s", "tried"), [(4.0, [1]), (0.5, [])])
def test_a_second_trial_tells_what_they_take(
    saved_s: float, tried: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where one alone says that this is much; none after an interrupt."""
    data: Any = DataLoader(torch.zeros(STEPS, 1))
    settings: dict[str, Any] = {"enable_checkpointing": True, "max_epochs": 1}
    subject = Subject(trainer(tmp_path, **settings), Better(), data)
    subject.loading()
    numbers: list[int] = []

    def whole(*of: Any, **named: Any) -> Timed:
        numbers.append(of[4])
        return times(saved_s)

    monkeypatch.setattr(trials_with_changes, "whole_fit", whole)
    trials = trials_with_changes.Trials(
        trials_with_changes.Foreign(subject), 0.0, Pace(1.0, 0.0, None), None, 0
    )
    assert trials.checkpoints(True) == []
    trials.whole(NONE)(0)
    assert trials.checkpoints(False) == []
    assert trials.checkpoints(True) == ["checkpoints take 4.00 s of an epoch"] * len(tried)
    assert numbers == [0, *tried]
