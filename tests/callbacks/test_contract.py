"""What holds for every callback that hpml exports."""

import inspect
import pickle
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hpml import callbacks

EXPORTED = [
    kind for name in callbacks.__all__ if isinstance(kind := getattr(callbacks, name), type)
]


class Foreign(L.LightningModule):
    """A module and a loader that know nothing of hpml."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", batch[0].mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def make(kind: type[L.Callback], folder: Path) -> L.Callback:
    if kind is callbacks.RunRecorder:
        return callbacks.RunRecorder(folder / "record", callbacks.EpochTimer())
    if kind is callbacks.Checkpoint:
        return callbacks.Checkpoint({}, dirpath=folder, filename="last")
    if kind is callbacks.ResumeCheckpoints:
        timer = callbacks.EpochTimer()
        recorder = callbacks.RunRecorder(folder / "record", timer)
        return callbacks.ResumeCheckpoints(folder, {}, timer, recorder, every_s=None, warns=False)
    return kind()


def companions(kind: type[L.Callback], folder: Path) -> list[L.Callback]:
    """The callback, and behind what it has to stand."""
    made = make(kind, folder)
    if isinstance(made, callbacks.ResumeCheckpoints):
        return [made.timer, made.recorder, made]
    return [made.timer, made] if isinstance(made, callbacks.RunRecorder) else [made]


def weights_after(trainer_callbacks: list[L.Callback], folder: Path, fits: int) -> torch.Tensor:
    torch.manual_seed(0)
    module = Foreign()
    loader = DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=4)
    for _ in range(fits):
        trainer = L.Trainer(
            max_epochs=2,
            accelerator="cpu",
            callbacks=trainer_callbacks,
            logger=False,
            enable_checkpointing=any(
                isinstance(c, L.pytorch.callbacks.Checkpoint) for c in trainer_callbacks
            ),
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, loader, loader)
    return module.layer.weight.detach()


@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.__name__)
def test_it_only_observes(kind: type[L.Callback], tmp_path: Path) -> None:
    """On a foreign module, through two fits, training goes as it would without."""
    alone = weights_after([], tmp_path, fits=2)
    assert torch.equal(weights_after(companions(kind, tmp_path), tmp_path, fits=2), alone)


@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.__name__)
def test_its_docstring_says_what_it_logs(kind: type[L.Callback]) -> None:
    """A table of keys, or that there are none."""
    documentation = inspect.getdoc(kind) or ""
    assert "| key" in documentation or "Logs nothing" in documentation


@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.__name__)
def test_its_state_key_is_its_own(kind: type[L.Callback], tmp_path: Path) -> None:
    """Stateful callbacks are told apart in a checkpoint."""
    assert kind.__name__ in make(kind, tmp_path).state_key
    pickle.dumps(make(kind, tmp_path).state_dict())


def test_checkpoints_under_two_names_are_told_apart(tmp_path: Path) -> None:
    """`last` and `best` keep their own states in one checkpoint."""
    one, other = (callbacks.Checkpoint({}, dirpath=tmp_path, filename=n) for n in ("last", "best"))
    assert one.state_key != other.state_key
