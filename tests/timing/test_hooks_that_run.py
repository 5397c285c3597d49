"""Hooks that start a run of their own inside a fit: a search, a validation, another fit."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.delays import (
    NOTHING,
    Delays,
    Module,
    Planted,
    VirtualClock,
    fit,
    loaders,
    silent,
    trainer,
)
from lightning.pytorch.callbacks import BatchSizeFinder, LambdaCallback, LearningRateFinder
from torch.utils.data import DataLoader

from hpml.callbacks import EpochTimer, RunRecorder, phase_timers
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.records.run_record import RunRecord

EPOCHS = 4
# every place of the training loop and of its validation
PLACES = ("dataset", "transfer", "forward", "optimizer", "module_epoch_end", "val_step")


class Searched(Module):
    """Has what Lightning's searches change; its batches are of two samples at first."""

    lr = 0.1
    batch_size = 2

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(loaders(self.delays)[0].dataset, self.batch_size)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.delays.at("val_step")


class SlowlyMade(Searched):
    """A search makes the loaders anew."""

    def train_dataloader(self) -> DataLoader[Any]:
        self.delays.spend(7_000_000)
        return super().train_dataloader()


class AtMilestones:
    """The pattern of Lightning's documentation: a search at the start of some epochs."""

    def on_fit_start(self, *_: Any) -> None:
        return

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch in (0, 2):
            self.search(trainer, module)


class FineTuneLearningRateFinder(AtMilestones, LearningRateFinder):
    def search(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.lr_find(trainer, module)


class FineTuneBatchSizeFinder(AtMilestones, BatchSizeFinder):
    def search(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.scale_batch_size(trainer, module)
        # without it Lightning 2.6 trains no batch any more
        trainer.fit_loop.restarting = trainer.fit_loop.epoch_loop.restarting = False


class Runs(L.Callback):
    """Starts a run in a hook, once, in the second epoch; the Trainer's state is put back."""

    def __init__(self, hook: str, run: Any) -> None:
        self.run, self.ns, self.clock = run, 0, None
        setattr(self, hook, self.start)

    def start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if trainer.current_epoch == 1 and not self.ns and not trainer.sanity_checking:
            self.ns = -self.clock.ns
            state = vars(trainer.state).copy()
            self.run(trainer, module)
            vars(trainer.state).update(state)
            self.ns += self.clock.ns


def find_learning_rate() -> Any:
    return FineTuneLearningRateFinder(num_training_steps=5, early_stop_threshold=None)


def find_batch_size() -> Any:
    return FineTuneBatchSizeFinder(max_trials=1, steps_per_trial=1)


def validate(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.validate(module, loaders(module.delays)[1], verbose=False)


def evaluate(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.test(module, loaders(module.delays)[1], verbose=False)


def validate_by_hand(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.fit_loop.epoch_loop.val_loop.run()


def fit_another(trainer: L.Trainer, module: L.LightningModule) -> None:
    """With the callbacks of the first Trainer."""
    timers = [c for c in trainer.callbacks if isinstance(c, PhaseTimer | RunRecorder)]
    L.Trainer(**QUIET, callbacks=timers).fit(Searched(module.delays))


def fit_again(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.fit(module, loaders(module.delays)[0])


QUIET: dict[str, Any] = {
    **{"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    **{"enable_progress_bar": False, "enable_model_summary": False},
}
IN_HOOKS = [
    ("on_train_epoch_end", validate, EPOCHS),
    ("on_train_epoch_end", evaluate, EPOCHS),
    ("on_train_epoch_end", validate_by_hand, EPOCHS),
    ("on_train_epoch_start", validate_by_hand, EPOCHS),
    ("on_train_epoch_start", fit_another, EPOCHS),
    ("on_train_batch_end", fit_another, EPOCHS),
    ("on_train_epoch_end", fit_another, EPOCHS),
    # what trains in there are the remaining epochs: Lightning has none left after it
    ("on_train_epoch_end", fit_again, 2),
]


def approx(ns: int) -> Any:
    """Seconds, of a run that took time."""
    assert ns > 0
    return pytest.approx(ns / 1e9)


def timed(
    folder: Path, clock: VirtualClock, callback: Any, first: bool, **settings: Any
) -> tuple[RunRecord, Delays]:
    """The record of a fit of four epochs, with the callback before or behind the timers."""
    delays, timers = Delays(PLACES, clock.spend), phase_timers(record=folder / "record")
    callback.clock = clock
    fit(
        folder,
        *([callback, *timers] if first else [*timers, callback]),
        delays=delays,
        data=(None, loaders(delays)[1]),
        max_epochs=EPOCHS,
        **{"module": Searched} | settings,
    )
    return RunRecord.read(folder / "record"), delays


def assert_whole(record: RunRecord, clock: VirtualClock, epochs: int = EPOCHS) -> None:
    """Each epoch once, with its four steps, and all of the time in them or around them."""
    found = [(epoch.epoch, epoch.steps, epoch.samples) for epoch in record.epochs]
    assert found == [(number, 4, 8) for number in range(epochs)]
    assert record.status == "completed"
    epochs_s = sum(epoch.time["epoch_s"] for epoch in record.epochs)
    assert record.startup_s + epochs_s + record.finish_s == pytest.approx(clock.ns / 1e9)


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("search", [find_learning_rate, find_batch_size])
def test_a_search_is_no_epoch(
    search: Any, first: bool, tmp_path: Path, clock: VirtualClock
) -> None:
    """Four epochs of one length; the search is `other`, under its callback's name."""
    finder = search()
    record, _ = timed(tmp_path, clock, finder, first, module=SlowlyMade)
    assert_whole(record, clock)
    plain, searched = record.epochs[1], record.epochs[2]
    for name in ("data_s", "transfer_s", "train_s", "validation_s"):
        assert searched.time[name] == pytest.approx(plain.time[name])
    assert searched.other_split[f"{type(finder).__name__}.on_train_epoch_start"] >= 0.007
    assert f"{type(finder).__name__}.on_train_epoch_start" not in plain.other_split


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize(("hook", "run", "epochs"), IN_HOOKS)
def test_a_run_in_a_hook_is_the_hooks(
    hook: str, run: Any, epochs: int, first: bool, tmp_path: Path, clock: VirtualClock
) -> None:
    """To the nanosecond, whatever runs in which hook; the phases are those of an epoch without."""
    runs = Runs(hook, run)
    record, _ = timed(tmp_path, clock, runs, first)
    assert_whole(record, clock, epochs)
    plain, with_run = record.epochs[:2]
    for name in ("data_s", "transfer_s", "train_s", "validation_s"):
        assert with_run.time[name] == pytest.approx(plain.time[name])
    assert with_run.other_split[f"Runs.{hook}"] == approx(runs.ns)
    assert with_run.time["other_s"] - plain.time["other_s"] == approx(runs.ns)


@pytest.mark.parametrize("run", [validate, evaluate, validate_by_hand, fit_another])
@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_validation_end"])
def test_a_run_in_a_validations_hook_is_validation(
    hook: str, run: Any, tmp_path: Path, clock: VirtualClock
) -> None:
    """As all that a validation's hooks do."""
    runs = Runs(hook, run)
    record, _ = timed(tmp_path, clock, runs, first=True)
    assert_whole(record, clock)
    plain, with_run = record.epochs[:2]
    more_s = with_run.time["validation_s"] - plain.time["validation_s"]
    assert more_s == approx(runs.ns)
    assert with_run.time["other_s"] == pytest.approx(plain.time["other_s"])


def test_what_an_epoch_logged_is_kept_from_such_a_run(tmp_path: Path) -> None:
    """It begins the next epoch, and logs under the same names before the timers look."""
    logged: list[dict[str, float]] = []

    class Counting(Module):
        count = 0

        def on_validation_epoch_end(self) -> None:
            self.count += 1
            self.log("count", float(self.count))

    timer, by_hand = silent(), Runs("on_train_epoch_start", validate_by_hand)
    by_hand.clock = VirtualClock()
    fitting = trainer(NOTHING, tmp_path, [by_hand, timer], max_epochs=3)
    fitting.loggers[0].log_metrics = lambda metrics, step: logged.append(dict(metrics))
    fitting.fit(Counting(NOTHING), *loaders(NOTHING))
    assert [epoch.metrics["count"] for epoch in timer.epochs] == [1, 3, 4]
    assert [metrics["epoch"] for metrics in logged if "time/epoch_s" in metrics] == [0, 1, 2]


def test_what_a_hook_does_for_its_loop_stays_what_it_is(
    tmp_path: Path, clock: VirtualClock, timer: EpochTimer
) -> None:
    """A checkpoint that a hook saves, and a backward pass with the hooks of others."""

    class Inside(Module):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.kept = self.loss(batch)

        def on_train_batch_end(self, *_: Any) -> None:
            self.manual_backward(self.kept)
            self.trainer.save_checkpoint(tmp_path / "own.ckpt")

    delays = Delays(("backward", "checkpoint", "callback_before_backward"), clock.spend)
    settings = {"module": Inside, "max_epochs": 1, "limit_val_batches": 0}
    fit(tmp_path, timer, Planted(delays), delays=delays, **settings)
    (epoch,) = timer.epochs
    assert {name: s for name, s in epoch.other_split.items() if s} == {
        "Inside.on_train_batch_end": pytest.approx(4 * delays.ns["backward"] / 1e9),
        "Planted.on_before_backward": pytest.approx(
            4 * delays.ns["callback_before_backward"] / 1e9
        ),
        "save_checkpoint": pytest.approx(4 * delays.ns["checkpoint"] / 1e9),
    }


def test_a_run_in_a_hook_that_fails_ends_the_fit_once(tmp_path: Path) -> None:
    """The record has the fit's own error and epochs."""

    def failing(trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1:
            module = Module(NOTHING)
            module.validation_step = lambda *_: 1 / 0
            trainer.validate(module, loaders(NOTHING)[1])

    timers = phase_timers(record=tmp_path / "record")
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, LambdaCallback(on_train_epoch_end=failing), *timers)
    record = RunRecord.read(tmp_path / "record")
    assert record.error["type"] == "ZeroDivisionError"
    assert [(epoch.epoch, epoch.steps) for epoch in record.epochs] == [(0, 4), (1, 4)]
    assert not list(tmp_path.glob("record-*"))
