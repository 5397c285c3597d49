"""Fits that go another way than most: they die, resume, search, or bring callbacks of one line."""

import tracemalloc
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.delays import (
    NOTHING,
    Delays,
    FakeDevice,
    Module,
    Planted,
    VirtualClock,
    fit,
    loaders,
    recorded,
    silent,
    trainer,
)
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback, LearningRateFinder
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader, IterableDataset

from hpml.callbacks import EpochTimer, RunRecorder, phase_timers
from hpml.records.run_record import RunRecord
from hpml.timing import profiler
from hpml.timing.advice import JobFacts
from hpml.timing.live_shares import LiveShares
from hpml.timing.profiler import PhaseProfiler


def raising(error: BaseException) -> Any:
    def hook(*_: Any) -> None:
        raise error

    return hook


# How fits end.


def test_what_happens_after_a_fit_leaves_its_record_alone(tmp_path: Path) -> None:
    """A validation that fails is not the fit."""
    fitting = fit(tmp_path, *phase_timers(record=tmp_path / "record"))
    before = (tmp_path / "record" / "record.json").read_text()
    module = Module(NOTHING)
    module.validation_step = raising(RuntimeError("later"))
    with pytest.raises(RuntimeError, match="later"):
        fitting.validate(module, loaders(NOTHING)[1])
    assert (tmp_path / "record" / "record.json").read_text() == before
    assert '"completed"' in before


def test_an_epoch_that_ended_is_kept_when_the_next_cannot_begin(tmp_path: Path) -> None:
    """A callback in front of the timer raises at the start of the second epoch."""

    def second(trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError

    timers = phase_timers(record=tmp_path / "record")
    with pytest.raises(RuntimeError):
        fit(tmp_path, LambdaCallback(on_train_epoch_start=second), *timers)
    (epoch,) = RunRecord.read(tmp_path / "record").epochs
    assert (epoch.epoch, epoch.steps, epoch.samples, epoch.partial) == (0, 4, 8, False)


# `lightning` and `pytorch_lightning` have one each
SIGTERM = type("SIGTERMException", (Exception,), {})


@pytest.mark.parametrize(
    ("at", "hook", "error", "raised", "status"),
    [
        ((1, 3), "on_before_backward", KeyboardInterrupt(), SystemExit, "interrupted"),
        ((1, 2), "on_before_backward", SIGTERM(), SIGTERM, "interrupted"),
        ((1, 2), "on_train_batch_start", RuntimeError("broken"), RuntimeError, "failed"),
        ((1, 0), "on_before_backward", RuntimeError("broken"), RuntimeError, "failed"),
        ((0, 0), "on_before_backward", RuntimeError("broken"), RuntimeError, "failed"),
    ],
)
def test_an_epoch_that_is_cut_short_is_kept(
    at: Any, hook: str, error: Any, raised: Any, status: str, tmp_path: Path, clock: VirtualClock
) -> None:
    """Without the failed batch and the metrics of the epoch before; the profiler is given back."""
    fitting = []

    def fail(trainer: L.Trainer, *_: Any) -> None:
        if (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx) == at:
            fitting.append(trainer)
            raise error

    delays, breaking = Delays(("training_step",), clock.spend), LambdaCallback(**{hook: fail})
    record = recorded(tmp_path, breaking, delays=delays, raises=raised)
    assert record.status == status
    assert record.error == {"type": type(error).__name__, "message": str(error)}
    epochs = [(epoch.steps, epoch.samples, epoch.partial) for epoch in record.epochs]
    assert epochs == [(4, 8, False)] * at[0] + [(at[1], 2 * at[1], True)]
    assert [bool(epoch.metrics) for epoch in record.epochs] == [True] * at[0] + [False]
    # where the time went before is known
    train_s = (delays.calls["training_step"] - 4 * at[0]) * delays.ns["training_step"] / 1e9
    assert record.epochs[-1].time["train_s"] == pytest.approx(train_s)
    assert (record.startup_s, record.finish_s) == (0, pytest.approx(0))
    assert not isinstance(fitting[0].profiler, PhaseProfiler)


def test_a_sensor_that_a_dead_fit_left_is_not_used_again(tmp_path: Path, timer: EpochTimer) -> None:
    """Another callback's `on_exception` raises, so that ours is not called."""
    first, second = (raising(RuntimeError(text)) for text in ("first", "second"))
    breaking = LambdaCallback(on_train_batch_end=first, on_exception=second)
    fitting = trainer(NOTHING, tmp_path, [breaking, timer])
    with pytest.raises(RuntimeError, match="second"):
        fitting.fit(Module(NOTHING), *loaders(NOTHING))
    again = trainer(NOTHING, tmp_path, [timer])
    again.profiler = fitting.profiler
    again.fit(Module(NOTHING), *loaders(NOTHING))
    assert [(epoch.epoch, epoch.steps) for epoch in timer.epochs] == [(0, 4), (1, 4)]


def test_resuming_inside_an_epoch(tmp_path: Path, timer: EpochTimer) -> None:
    """The rest of the epoch is what is timed; the same timers as before begin anew."""
    fit(tmp_path, timer, batches=8, max_steps=3, max_epochs=-1)
    saved = str(next((tmp_path / "checkpoints").glob("*.ckpt")))
    resuming = trainer(NOTHING, tmp_path, [timer])
    resuming.fit(Module(NOTHING), *loaders(NOTHING, batches=8), ckpt_path=saved)
    assert all(epoch.samples == 2 * epoch.steps > 0 for epoch in timer.epochs)
    assert sum(epoch.steps for epoch in timer.epochs) <= 16


def test_a_fit_with_nothing_to_do_forgets_nothing(tmp_path: Path) -> None:
    """The epochs and the verdict are still those of the fit before."""
    timers = phase_timers(record=tmp_path / "record")
    fit(tmp_path, *timers).fit(Module(NOTHING), *loaders(NOTHING))
    assert len(timers[2].epochs) == 2
    assert timers[2].verdict is not None
    assert not (tmp_path / "record-2").exists()


# Which epochs there are.


class Searched(Module):
    lr = 0.1

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)


class Growing(Module):
    """Makes its own loader, which grows with the epochs."""

    def train_dataloader(self) -> DataLoader[Any]:
        return loaders(self.delays, 4 + 4 * self.trainer.current_epoch)[0]


class Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Any:
        return (torch.ones(4) for _ in range(6))


class Sized(Stream):
    def __len__(self) -> int:
        return 7


EACH = {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 3}
CUT = {"max_steps": 8, "max_epochs": -1, "limit_val_batches": 0}


@pytest.mark.parametrize(
    ("callbacks", "settings", "expected"),
    [
        # it trains, but not the epochs that were asked for
        (
            [LearningRateFinder(num_training_steps=5, min_lr=1e-4, max_lr=1e-2)],
            {"module": Searched, "batches": 6},
            [(6, False), (6, False)],
        ),
        ([EarlyStopping("val/loss", patience=1)], {"max_epochs": 9}, [(4, False), (4, False)]),
        ([], {"max_steps": 6, "max_epochs": -1}, [(4, False), (2, True)]),
        # each is compared with its own loader
        ([], {"module": Growing, "data": (None,), **EACH}, [(4, False), (8, False), (12, False)]),
        # the loop knows its last batch when it has come; data with fewer than it says is whole
        ([], {"data": (DataLoader(Stream()),), **CUT}, [(6, False), (2, True)]),
        ([], {"data": (DataLoader(Sized()),), **CUT}, [(6, False), (2, True)]),
    ],
    ids=["search", "early stopping", "max_steps", "growing loader", "no length", "wrong length"],
)
def test_epochs_are_whole_or_partial(
    callbacks: Any, settings: Any, expected: Any, tmp_path: Path, timer: EpochTimer
) -> None:
    """A partial one counts in no mean over epochs, but what it logged is kept."""
    fit(tmp_path, timer, *callbacks, **settings)
    found = [(epoch.epoch, epoch.steps, epoch.partial) for epoch in timer.epochs]
    assert found == [(number, *length) for number, length in enumerate(expected)]
    assert all(epoch.metrics for epoch in timer.epochs)


# Where their time goes.


def test_a_validation_of_no_batches_takes_no_training(tmp_path: Path, clock: VirtualClock) -> None:
    """It announces itself and never ends."""
    delays, timer = Delays(("forward",), clock.spend), silent()
    fit(tmp_path, timer, delays=delays, data=(loaders(delays)[0], []), val_check_interval=2)
    assert [epoch.steps for epoch in timer.epochs] == [4, 4]
    assert all(epoch.time["validation_s"] == 0 for epoch in timer.epochs)


def test_a_reloaded_loaders_iterator_is_data(tmp_path: Path, clock: VirtualClock) -> None:
    """It is made before the epoch begins."""
    delays, timer = Delays(("loader_iter",), clock.spend), silent()
    fit(tmp_path, timer, delays=delays, module=Growing, data=(None,), **EACH)
    data_s = sum(epoch.time["data_s"] for epoch in timer.epochs)
    calls = delays.calls["loader_iter"]
    assert calls >= 3
    assert data_s == pytest.approx((calls - 1) * delays.ns["loader_iter"] / 1e9)


def test_hooks_set_on_an_instance_are_hooks(tmp_path: Path, clock: VirtualClock) -> None:
    """Lightning's LambdaCallback has no hook of its class's own."""
    timer = silent()
    hooks = ("on_after_backward", "on_train_batch_end")
    one_line = LambdaCallback(**dict.fromkeys(hooks, lambda *_: clock.spend(5_000_000)))
    fit(tmp_path, timer, one_line, max_epochs=1, limit_val_batches=0)
    (epoch,) = timer.epochs
    assert epoch.time["train_s"] == 0
    expected = {f"LambdaCallback.{hook}": pytest.approx(0.02) for hook in hooks}
    assert {name: s for name, s in epoch.other_split.items() if s} == expected


def test_a_modules_own_validation_hooks_are_validation(tmp_path: Path, clock: VirtualClock) -> None:
    """Those before it begins and after it has ended, too."""

    class Hooked(Module):
        def on_validation_model_zero_grad(self) -> None:
            clock.spend(3_000_000)

        def on_validation_model_train(self) -> None:
            clock.spend(4_000_000)
            super().on_validation_model_train()

    timer = silent()
    fit(tmp_path, timer, module=Hooked)
    for epoch in timer.epochs:
        assert epoch.time["validation_s"] == pytest.approx(0.007)
        assert epoch.time["other_s"] == 0


@pytest.mark.parametrize("closure", [True, False], ids=["in a closure", "without Lightning"])
def test_a_split_that_cannot_be_timed_is_left_out(
    closure: bool, tmp_path: Path, clock: VirtualClock
) -> None:
    """A module that optimizes by itself need not show where its backward pass is."""

    class Manual(Module):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            optimizer: Any = self.optimizers()

            def step() -> Any:
                loss = self.loss(batch)
                self.manual_backward(loss) if closure else loss.backward()
                return loss

            optimizer.step(step) if closure else step()

    delays, timer = Delays(("forward", "backward"), clock.spend), silent()
    fit(tmp_path, timer, delays=delays, module=Manual)
    for epoch in timer.epochs:
        assert epoch.train_split is None
        assert epoch.time["train_s"] == pytest.approx(4 * sum(delays.ns.values()) / 1e9)


def test_workers_that_start_in_each_epoch_are_kept(tmp_path: Path, clock: VirtualClock) -> None:
    """More of them would take longer; the advice is to keep them."""
    delays = Delays(("loader_iter", "forward"), clock.spend)
    delays.ns |= {"loader_iter": 90_000_000, "forward": 1_000_000}
    timer = silent(facts=JobFacts(num_workers=2, persistent_workers=False, cores=8))
    fit(tmp_path, timer, delays=delays, max_epochs=40, limit_val_batches=0)
    assert timer.verdict["kind"] == "input-bound"
    assert "persistent_workers=True" in timer.verdict["advice"]


@pytest.fixture
def device(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """A device whose host's time is the virtual clock."""
    device = FakeDevice()
    device.host = clock
    monkeypatch.setattr(profiler, "device_clock", lambda _: device.clock())
    return device


@pytest.mark.parametrize(
    ("place", "kind", "seconds"),
    [
        # a batch of two samples takes 100 ms, 20 of which the device works; the first batch waits
        # whole, since the epoch before it is over
        ("dataset", "wait_data_s", 0.1 + 3 * 0.08),
        ("collate", "wait_data_s", 0.05 + 3 * 0.03),
        ("loader_iter", "wait_data_s", 0.05),
        ("callback_batch_end", "idle_s", 4 * 0.03),
        # an epoch's end of 110 ms comes while the device is at work on all four batches
        ("callback_epoch_end", "idle_s", 0.03),
        ("checkpoint", "idle_s", 0.03),
        # neither a sanity check nor a validation is a copy, or any other of its kinds
        ("val_dataset", "copy_s", 0),
        ("val_transfer", "copy_s", 0),
    ],
)
def test_what_a_device_waits_for(
    place: str, kind: str, seconds: float, device: FakeDevice, tmp_path: Path
) -> None:
    """Through a whole Trainer: waiting counts for its cause, and work is what was given."""
    delays, timer = Delays((place,), device.host.spend), silent()
    delays.ns[place] = 110_000_000 if place in ("callback_epoch_end", "checkpoint") else 50_000_000

    class Working(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            device.work(20_000_000)
            return super().training_step(batch, batch_idx)

    settings = {"num_sanity_val_steps": 2} if "val" in place else {"limit_val_batches": 0}
    fit(tmp_path, timer, Planted(delays), delays=delays, module=Working, **settings)
    expected = {"busy_s": 4 * 0.02, "wait_data_s": 0, "idle_s": 0, "copy_s": 0, kind: seconds}
    assert timer.epochs[1].device_time == pytest.approx(expected, abs=1e-6)


# What is logged and recorded.


def test_a_layout_of_the_users_own_stays(tmp_path: Path) -> None:
    """TensorBoard shows the last one that was written: ours comes first, and once."""
    layouts: list[str] = []
    logger = TensorBoardLogger(tmp_path)
    logger.experiment.add_custom_scalars = lambda layout: layouts.extend(layout)

    class Own(Module):
        def on_fit_start(self) -> None:
            self.logger.experiment.add_custom_scalars({"Mine": {}})

    fitting = trainer(NOTHING, tmp_path, [silent()])
    fitting.loggers = [logger]
    fitting.fit(Own(NOTHING), *loaders(NOTHING))
    fitting.fit_loop.max_epochs = 4
    fitting.fit(Own(NOTHING), *loaders(NOTHING))
    assert layouts == ["Learning", "Where the epoch goes", "Mine", "Mine"]


def test_a_logger_without_an_experiment_is_a_logger(tmp_path: Path) -> None:
    """Lightning asks for no more than the two methods; figures are logged with their epoch."""
    logged: list[dict[str, float]] = []

    class Plain(Logger):
        name, version = "plain", 0

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            logged.append(dict(metrics))

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            pass

    fitting = trainer(NOTHING, tmp_path, phase_timers())
    fitting.loggers = [Plain()]
    fitting.fit(Module(NOTHING), *loaders(NOTHING))
    assert any("time/epoch_s" in metrics for metrics in logged)
    ours = [metrics["epoch"] for metrics in logged if any("time/" in name for name in metrics)]
    assert ours == [0, 0, 0, 1, 1, 1]


def test_metrics_named_like_ours_are_kept(tmp_path: Path, timer: EpochTimer) -> None:
    """Only those that the timers log are left out of the record's metrics."""

    class Timing(Module):
        def on_train_epoch_end(self) -> None:
            self.log("time/lr_phase", 1.0)

    fit(tmp_path, timer, module=Timing)
    for epoch in timer.epochs:
        assert set(epoch.metrics) == {"train/loss", "val/loss", "time/lr_phase"}


def test_a_record_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: Any, caplog: Any, capsys: Any
) -> None:
    """Somebody else's training goes on, with one warning and no word of a missing file."""
    (tmp_path / "file").touch()
    fit(tmp_path, *phase_timers(record=tmp_path / "file" / "record"))
    assert caplog.text.count("not written") == 1
    assert "record:" not in capsys.readouterr().out
    monkeypatch.setattr(RunRecord, "write", raising(OSError(28, "No space left on device")))
    timers = phase_timers(record=tmp_path / "record")
    fit(tmp_path, *timers)
    assert caplog.text.count("not written (No space left on device)") == 1
    assert len(timers[2].epochs) == 2


def test_lazy_layers_are_counted_once_they_have_shapes(tmp_path: Path) -> None:
    """Their parameters have none while a Trainer sets up."""

    class Lazy(Module):
        def __init__(self, delays: Delays) -> None:
            super().__init__(delays)
            self.network = torch.nn.LazyLinear(1)

    assert recorded(tmp_path, module=Lazy, max_epochs=1).model["name"] == "Lazy"


def test_a_recorder_before_its_timer_is_refused(tmp_path: Path, timer: EpochTimer) -> None:
    """In words."""
    with pytest.raises(ValueError, match="stands behind its EpochTimer"):
        fit(tmp_path, RunRecorder(tmp_path / "record", timer), timer)


def test_many_short_epochs_are_not_slowed_by_their_record(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing takes at most a fiftieth of the time, but for the first and the last one."""
    written: list[int] = []

    def write(record: RunRecord, directory: Path) -> None:
        written.append(len(record.epochs))
        clock.spend(10_000_000)

    monkeypatch.setattr(RunRecord, "write", write)
    delays = Delays(("forward",), clock.spend)
    delays.ns["forward"] = 10_000_000
    timers = phase_timers(record=tmp_path / "record")
    fit(tmp_path, *timers, delays=delays, batches=2, max_epochs=100, limit_val_batches=0)
    assert written[0] == 0
    assert written[-1] == 100
    assert 3 <= len(written) <= 2 + 1 + 100 * 20 * 0.02 / 10 + 1


def send_steps(profiler: PhaseProfiler, live: LiveShares, number: int, clock: VirtualClock) -> None:
    """The actions of so many steps, as Lightning sends them, of many lengths from 1 µs to 1 s."""
    for step in range(number):
        clock.spend(round(1_000 * 10 ** (6 * (step % 1_009) / 1_009)))
        for action in ("[_TrainingEpochLoop].train_dataloader_next", "[Strategy]A.batch_to_device"):
            with profiler.profile(action):
                pass
        with profiler.profile("run_training_batch"):
            for action in ("[Strategy]A.training_step", "[Strategy]A.backward"):
                with profiler.profile(action):
                    pass
        if live.step_ended(2):
            live.look(profiler.clock.times(), None)
            live.news()


@pytest.mark.parametrize(
    "number", [30_000, pytest.param(1_000_000, marks=pytest.mark.stress)], ids=lambda n: f"{n:,}"
)
def test_memory_does_not_grow_with_the_steps(
    number: int, tmp_path: Path, clock: VirtualClock
) -> None:
    """Clock, windows, shares and the distribution of the steps are of one size from the start."""
    fitting = trainer(NOTHING, tmp_path, [])
    fitting.strategy.connect(Module(NOTHING))
    sensor, live = PhaseProfiler(fitting), LiveShares(50)
    sensor.arm()
    with sensor.profile("run_training_epoch"):
        send_steps(sensor, live, 10_000, clock)
        tracemalloc.start()
        send_steps(sensor, live, number, clock)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 50_000
    assert sensor.clock.open_epoch().steps >= number
