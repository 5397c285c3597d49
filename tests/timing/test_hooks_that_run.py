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
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader

from hpml.callbacks import EpochTimer, phase_timers
from hpml.records.run_record import RunRecord

EPOCHS = 4
# every place of the training loop and of its validation
PLACES = ("dataset", "transfer", "forward", "optimizer", "module_batch_end", "val_step")


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
    return FineTuneLearningRateFinder(num_training_steps=5, min_lr=1e-4, max_lr=1e-2)


def find_batch_size() -> Any:
    return FineTuneBatchSizeFinder(max_trials=1, steps_per_trial=1)


def validate(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.validate(module, loaders(module.delays)[1], verbose=False)


def test(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.test(module, loaders(module.delays)[1], verbose=False)


def validate_by_hand(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.fit_loop.epoch_loop.val_loop.run()


def fit_another(trainer: L.Trainer, module: L.LightningModule) -> None:
    """With the callbacks of the first Trainer."""
    other = L.Trainer(**QUIET, callbacks=[c for c in trainer.callbacks if not isinstance(c, Runs)])
    other.fit(Searched(module.delays))


def fit_again(trainer: L.Trainer, module: L.LightningModule) -> None:
    trainer.fit(module, loaders(module.delays)[0])


QUIET: dict[str, Any] = {
    **{"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    **{"enable_progress_bar": False, "enable_model_summary": False},
}
IN_HOOKS = [
    ("on_train_epoch_end", validate, EPOCHS),
    ("on_train_epoch_end", test, EPOCHS),
    ("on_train_epoch_end", validate_by_hand, EPOCHS),
    ("on_train_epoch_start", validate_by_hand, EPOCHS),
    ("on_train_epoch_start", fit_another, EPOCHS),
    ("on_train_batch_end", fit_another, EPOCHS),
    ("on_train_epoch_end", fit_another, EPOCHS),
    # what trains in there are the remaining epochs: Lightning has none left after it
    ("on_train_epoch_end", fit_again, 2),
]


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
        module=Searched,
        data=(None, loaders(delays)[1]),
        max_epochs=EPOCHS,
        **settings,
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
    record, _ = timed(tmp_path, clock, finder, first)
    assert_whole(record, clock)
    plain, searched = record.epochs[1], record.epochs[2]
    for name in ("data_s", "transfer_s", "train_s", "validation_s"):
        assert searched.time[name] == pytest.approx(plain.time[name])
    assert searched.other_split[f"{type(finder).__name__}.on_train_epoch_start"] > 0.01
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
    assert with_run.other_split[f"Runs.{hook}"] == pytest.approx(runs.ns / 1e9) > 0
    assert with_run.time["other_s"] - plain.time["other_s"] == pytest.approx(runs.ns / 1e9)


@pytest.mark.parametrize("run", [validate, test, validate_by_hand, fit_another])
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
    assert more_s == pytest.approx(runs.ns / 1e9) > 0
    assert with_run.time["other_s"] == pytest.approx(plain.time["other_s"])


def test_what_an_epoch_logged_is_kept_from_a_search(tmp_path: Path) -> None:
    """The search that begins the next epoch logs under the same names, before the timers look."""
    logged: list[dict[str, float]] = []

    class Plain(Logger):
        name, version = "plain", 0

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            logged.append(dict(metrics))

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            pass

    class Counting(Searched):
        count = 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.count += 1
            self.log("count", float(self.count))
            return self.loss(batch)

    timer = silent()
    fitting = trainer(NOTHING, tmp_path, [find_learning_rate(), timer], max_epochs=3)
    fitting.loggers = [Plain()]
    fitting.fit(Counting(NOTHING))
    # five steps of a search, two epochs of four, five steps of a search, the last epoch
    assert [epoch.metrics["count"] for epoch in timer.epochs] == [9, 13, 22]
    assert [m["epoch"] for m in logged if "time/epoch_s" in m] == [0, 1, 2]


def test_a_hooks_own_backward_and_checkpoint_stay_what_they_are(
    tmp_path: Path, clock: VirtualClock
) -> None:
    """They are of the loop that called the hook."""

    class Inside(Module):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.kept = self.loss(batch)

        def on_train_batch_end(self, *_: Any) -> None:
            self.manual_backward(self.kept)
            self.optimizers().step()
            self.trainer.save_checkpoint(tmp_path / "own.ckpt")

    delays, timer = Delays(("backward", "optimizer", "checkpoint"), clock.spend), silent()
    fit(tmp_path, timer, delays=delays, module=Inside, max_epochs=1, limit_val_batches=0)
    (epoch,) = timer.epochs
    expected_s = 4 * (delays.ns["backward"] + delays.ns["optimizer"]) / 1e9
    assert epoch.time["train_s"] == pytest.approx(expected_s)
    assert epoch.other_split["save_checkpoint"] == pytest.approx(5 * delays.ns["checkpoint"] / 1e9)


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


def test_a_search_with_planted_delays_elsewhere_counts_nothing_twice(
    tmp_path: Path, clock: VirtualClock, timer: EpochTimer
) -> None:
    """Other callbacks' hooks keep their own time beside it."""
    delays = Delays(("callback_epoch_start", "callback_batch_end"), clock.spend)
    callbacks = find_learning_rate(), Planted(delays), timer
    data = None, loaders(delays)[1]
    fit(tmp_path, *callbacks, delays=delays, module=Searched, data=data, max_epochs=EPOCHS)
    for epoch in timer.epochs:
        batches_s = 4 * delays.ns["callback_batch_end"] / 1e9
        assert epoch.other_split["Planted.on_train_batch_end"] == pytest.approx(batches_s)
