"""What holds for every callback of hpml."""

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch.utils.data import DataLoader, TensorDataset

from hpml import callbacks
from hpml.callbacks import EpochTimer, PhaseTrace, RunRecorder
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.checkpointing.last_and_best import Checkpoint
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.checkpointing.stop_on_signal import StopOnSignal

EXPORTED = [kind for name in callbacks.__all__ if isinstance(kind := vars(callbacks)[name], type)]
EVERY = [*EXPORTED, Checkpoint, ResumeCheckpoints, StopOnSignal]
each = pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)


class Foreign(L.LightningModule):
    """A module that knows nothing of hpml."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", batch[0].mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def make(kind: type[L.Callback], folder: Path) -> list[L.Callback]:
    """The callback, behind those that it has to stand behind."""
    timer = EpochTimer()
    recorder = RunRecorder(folder / "record", timer)
    if kind is RunRecorder:
        return [timer, recorder]
    if kind is PhaseTrace:
        return [timer, recorder, PhaseTrace(recorder)]
    if kind is ResumeCheckpoints:
        points = ResumeCheckpoints(folder, {}, timer, recorder, every_s=None, warns=False)
        return [timer, recorder, points]
    return [Checkpoint({}, dirpath=folder, filename="last") if kind is Checkpoint else kind()]


def weights_after_two_fits(with_callbacks: list[L.Callback], folder: Path) -> torch.Tensor:
    torch.manual_seed(0)
    module = Foreign()
    loader = DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=4)
    saves = any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in with_callbacks)
    settings = {"max_epochs": 2, "accelerator": "cpu", "default_root_dir": folder, "logger": False}
    settings |= {"enable_checkpointing": saves, "enable_model_summary": False}
    for _ in range(2):
        L.Trainer(**settings, callbacks=with_callbacks).fit(module, loader, loader)
    return module.layer.weight.detach()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return weights_after_two_fits([], tmp_path_factory.mktemp("alone"))


@each
def test_it_only_observes(kind: type[L.Callback], alone: torch.Tensor, tmp_path: Path) -> None:
    """On a foreign module, through two fits, training goes as it would without."""
    assert torch.equal(weights_after_two_fits(make(kind, tmp_path), tmp_path), alone)


@each
def test_it_says_what_it_logs_and_has_its_own_state(kind: type[L.Callback], tmp_path: Path) -> None:
    """Its docstring has a table of keys, or says that there are none; its state can be saved."""
    documentation = inspect.getdoc(kind) or ""
    assert "| key" in documentation or "Logs nothing" in documentation
    callback = make(kind, tmp_path)[-1]
    assert kind.__name__ in callback.state_key
    pickle.dumps(callback.state_dict())


WAYS: dict[str, Callable[[list[L.Callback]], list[L.Callback]]] = {
    "pickled together": lambda callbacks: pickle.loads(pickle.dumps(callbacks)),
    "pickled one by one": lambda callbacks: [pickle.loads(pickle.dumps(c)) for c in callbacks],
    "copied together": copy.deepcopy,
    "copied one by one": lambda callbacks: [copy.deepcopy(c) for c in callbacks],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.__name__)
def test_copies_of_any_moment_train(
    kind: type[L.Callback], way: str, alone: torch.Tensor, tmp_path: Path
) -> None:
    """Taken in the middle of a fit, and after it; they have their settings and no part in it."""
    callbacks = make(kind, tmp_path)
    taken: list[list[L.Callback]] = []

    def take(trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 6:
            taken.append(WAYS[way](callbacks))

    weights_after_two_fits([*callbacks, LambdaCallback(on_train_batch_end=take)], tmp_path)
    assert len(taken) == 2
    for copies in [*taken, WAYS[way](callbacks)]:
        assert torch.equal(weights_after_two_fits(copies, tmp_path), alone)
        assert [len(c.epochs) for c in copies if isinstance(c, PhaseTimer)] in ([], [2])


def test_checkpoints_under_two_names_are_told_apart(tmp_path: Path) -> None:
    """`last` and `best` keep their own states in one checkpoint."""
    last, best = (Checkpoint({}, dirpath=tmp_path, filename=name) for name in ("last", "best"))
    assert last.state_key != best.state_key
