"""Whole runs, in this process, on tiny data."""

import contextlib
import errno
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import TINY, Compose
from torch.nn import functional as F

from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.data.build import build_data
from hpml.errors import RunFailedError, UserError
from hpml.models.image_classifier import FINITE_CHECK_EVERY_N_STEPS
from hpml.records.phases import TIMES
from hpml.records.run_record import RunRecord
from hpml.system.signals import RunInterrupted
from hpml.train import job, train
from hpml.training.build import build_module, build_trainer


def checkpoint_of(compose: Compose, tmp_path: Path, *overrides: str) -> dict[str, Any]:
    train(compose(*TINY, *overrides))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_a_run_leaves_a_whole_record(compose: Compose, tmp_path: Path) -> None:
    """What train returns is what is on the disk, with every key of the contract."""
    cfg = compose(*TINY)
    record = train(cfg)
    assert record == RunRecord.read(tmp_path / "run")
    assert record.status == "completed"
    assert record.error is None
    assert record.config == json.loads(json.dumps(resolve(cfg)))
    assert record.model is not None
    assert record.model["conv_layers"] == 5
    assert record.model["linear_in_features"] == 128
    assert record.environment["device"] == "cpu"
    assert [(epoch.epoch, epoch.steps, epoch.samples) for epoch in record.epochs] == [
        (0, 3, 96),
        (1, 3, 96),
    ]
    for epoch in record.epochs:
        assert set(epoch.metrics) == {
            "train/loss",
            "train/accuracy",
            "val/loss",
            "val/accuracy",
            "lr",
        }
        assert epoch.time["epoch_s"] is not None
        assert epoch.samples_per_s == 96 / epoch.time["epoch_s"]
        phases = [epoch.time[name] or 0 for name in TIMES[1:]]
        assert sum(phases) == pytest.approx(epoch.time["epoch_s"])
        assert min(phases[2:]) > 0
        assert epoch.other_split is not None
        assert sum(epoch.other_split.values()) == pytest.approx(epoch.time["other_s"])
        assert epoch.train_split is not None
        assert sum(epoch.train_split.values()) == pytest.approx(epoch.time["train_s"])
        assert epoch.device_time is None
        assert epoch.step_ms is not None
        assert 0 < epoch.step_ms["p50"] <= epoch.step_ms["max"]
        for figure in (epoch.first_batch_s, epoch.peak_memory_mib, epoch.steady_samples_per_s):
            assert figure is not None
            assert figure > 0
        assert epoch.achieved_tflops == pytest.approx(
            record.model["flops_per_sample"] * (epoch.steady_samples_per_s or 0) / 1e12
        )
    assert record.verdict is not None
    assert set(record.verdict) == {"kind", "basis", "evidence", "advice"}
    parts = [epoch.time["epoch_s"] or 0 for epoch in record.epochs]
    assert record.startup_s is not None
    assert record.finish_s is not None
    assert record.wall_s is not None
    assert record.startup_s + sum(parts) + record.finish_s < record.wall_s


def test_the_figures_reach_tensorboard(compose: Compose, tmp_path: Path) -> None:
    """Every metric of the contract that exists so far is a curve with a point an epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = train(compose(*TINY))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    curves = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    expected = {"throughput/samples_per_s", *record.epochs[0].metrics}
    expected |= {f"time/{name}" for name in TIMES}
    assert expected <= set(curves)
    for name in expected:
        assert [event.step for event in curves[name]] == [2, 5], name
    assert "custom_scalars__config__" in events.Tags()["tensors"]  # "Where the epoch goes"
    assert curves["val/accuracy"][1].value == pytest.approx(
        record.epochs[1].metrics["val/accuracy"]
    )


def test_epochs_without_validation_have_no_validation_metrics(compose: Compose) -> None:
    """What the last validation left in `callback_metrics` is not taken for new."""
    record = train(compose(*TINY, "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"))
    assert [("val/loss" in epoch.metrics) for epoch in record.epochs] == [False, True, False]
    assert all("train/loss" in epoch.metrics for epoch in record.epochs)


class Watch(L.Callback):
    seen: dict[str, Any]

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        type(self).seen = {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_the_figures_reach_callback_metrics(compose: Compose) -> None:
    """Whoever reads the Trainer's metrics finds the last epoch's time and throughput."""
    record = train(compose(*TINY, "+callbacks.mine._target_=test_train.Watch"))
    last = record.epochs[-1]
    assert Watch.seen["time/epoch_s"] == pytest.approx(last.time["epoch_s"])
    assert Watch.seen["throughput/samples_per_s"] == pytest.approx(last.samples_per_s)


def test_a_run_repeats_bit_for_bit(compose: Compose, tmp_path: Path) -> None:
    """The same configuration gives the same weights, whatever the number of workers."""
    first = checkpoint_of(compose, tmp_path)["state_dict"]
    again = checkpoint_of(compose, tmp_path, "data.num_workers=1")["state_dict"]
    other = checkpoint_of(compose, tmp_path, "seed=1")["state_dict"]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_metrics_are_means_over_all_samples(compose: Compose) -> None:
    """An epoch whose last batch is short weighs samples, not batches."""
    cfg = compose(*TINY, "data.test_samples=33", "trainer.max_epochs=1")
    record = train(cfg)
    data = build_data(cfg)
    module = build_module(cfg, data)
    path = Path(cfg.run_dir) / "checkpoints" / "last.ckpt"
    module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    module.eval()
    losses, right = [], 0
    with torch.no_grad():
        for batch in data.val_dataloader():
            images, labels = data.on_after_batch_transfer(batch, 0)
            logits = module(images)
            losses += F.cross_entropy(logits, labels, reduction="none").tolist()
            right += int((logits.argmax(1) == labels).sum())
    metrics = record.epochs[0].metrics
    assert len(losses) == 33
    assert metrics["val/loss"] == pytest.approx(sum(losses) / 33, rel=1e-5)
    assert metrics["val/accuracy"] == pytest.approx(right / 33)


def test_the_job_returns_the_monitored_metric(compose: Compose, tmp_path: Path) -> None:
    """What Hydra's sweepers optimise is the last epoch's value of `monitor`."""
    returned = job(compose(*TINY, "monitor=train/loss"))
    assert returned == RunRecord.read(tmp_path / "run").epochs[-1].metrics["train/loss"]


def test_a_monitor_that_nobody_logs_is_told(
    compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    """Ours is refused before it trains; what a module of the user's own logs is known only then."""
    with pytest.raises(UserError, match=r"monitor=val/f1: give one of train/loss, .*"):
        train(compose(*TINY, "monitor=val/f1"))
    cfg = compose(*TINY, "monitor=val/f1")
    cfg.data = {"_target_": "test_train.OwnData"}
    cfg.model = {"_target_": "test_train.OwnModule", "num_classes": None, "size": 8}
    assert job(cfg) is None
    assert "monitor=val/f1: not among my_loss" in caplog.text


def test_what_a_module_of_ones_own_lacks_is_told(compose: Compose, tmp_path: Path) -> None:
    """A monitor that it does not log, where the best is chosen by it; a step of the test loop."""
    cfg = compose(*TINY, "data.val_split=0.5", "data.image_size=8", "monitor=val/f1")
    cfg.model = {"_target_": "test_train.OwnModule", "num_classes": None, "size": 8}
    with pytest.raises(UserError, match=r"monitor=val/f1: the module does not log it, but my_loss"):
        train(cfg)
    cfg.evaluate = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="model=ownmodule has no test_step"):
        train(cfg)


def test_what_is_announced_has_an_effect(
    compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    """No optimizer beside a module that brings its own, no curves without TensorBoard."""
    caplog.set_level("INFO")
    train(compose(*TINY))
    assert "optimizer=sgd" in caplog.text
    assert "curves: tensorboard" in caplog.text
    caplog.clear()
    cfg = compose(*TINY, "data.image_size=8", "logger=csv")
    cfg.model = {"_target_": "test_train.OwnModule", "num_classes": None, "size": 8}
    train(cfg)
    assert "record: " in caplog.text
    assert "optimizer=" not in caplog.text
    assert "curves" not in caplog.text


def test_what_lightning_refuses_in_fit_is_wrong_input(compose: Compose) -> None:
    """It knows only then that an epoch has fewer batches: told in a line, without a traceback."""
    with pytest.raises(UserError, match=r"trainer: +`val_check_interval` \(100\) must be"):
        train(compose(*TINY, "trainer.val_check_interval=100"))


class Losses(L.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.seen.append(float(outputs["loss"]))


def losses_beside_a_plain_loop(cfg: Any, steps: int) -> tuple[list[float], list[float]]:
    """The first losses through our entry, and those of a loop in plain PyTorch on its batches."""
    data = build_data(cfg)
    L.seed_everything(cfg.seed, verbose=False)
    module = build_module(cfg, data)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    watcher = Losses()
    trainer = build_trainer(cfg, [watcher])
    trainer.fit(module, datamodule=data)

    L.seed_everything(cfg.seed, verbose=False)
    network = build_module(cfg, data).network
    network.load_state_dict({name.removeprefix("network."): value for name, value in start.items()})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    data.trainer = None
    plain: list[float] = []
    for batch in data.train_dataloader():
        images, labels = data.on_after_batch_transfer(batch, 0)
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plain.append(loss.item())
        if len(plain) == steps:
            break
    return watcher.seen, plain


def test_losses_equal_those_of_a_plain_loop(compose: Compose) -> None:
    """Framework or none: the same numbers from the same batches."""
    cfg = compose(*TINY, "data.batch_size=8", "trainer.max_epochs=1", "logger=none")
    ours, plain = losses_beside_a_plain_loop(cfg, steps=12)
    assert ours == pytest.approx(plain, rel=1e-5)


def test_resnet18_on_real_images_equals_a_plain_loop(compose: Compose, real_images: Path) -> None:
    """Twenty steps of the main job on real images: relative difference of at most 1e-5."""
    cfg = compose(
        "data=image_folder",
        f"data.root={real_images}",
        "data.verify=false",
        "data.train_samples=320",
        "data.test_samples=16",
        "data.batch_size=16",
        "device=cpu",
        "trainer.max_epochs=1",
        "trainer.limit_val_batches=0",
        "logger=none",
        "callbacks=none",
    )
    ours, plain = losses_beside_a_plain_loop(cfg, steps=20)
    assert len(ours) == 20
    assert ours == pytest.approx(plain, rel=1e-5)


def test_without_validation_data_no_best_is_kept(compose: Compose, tmp_path: Path) -> None:
    """Nothing selects on the test set; with a split apart, `best` is chosen on it."""
    train(compose(*TINY))
    folder = tmp_path / "run" / "checkpoints"
    assert [file.name for file in folder.iterdir()] == ["last.ckpt"]
    train(compose(*TINY, "data.val_split=0.25"))
    assert sorted(file.name for file in folder.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_evaluate_gives_the_metrics_of_the_last_epoch(compose: Compose, tmp_path: Path) -> None:
    """Model and data come from the checkpoint; its test metrics are those that were watched."""
    record = train(compose(*TINY))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    again = train(
        compose("device=cpu", "callbacks=none", f"evaluate={path}", f"run_dir={tmp_path / 'eval'}")
    )
    assert again.evaluation is not None
    assert again.model is not None
    assert again.model["name"] == "small"
    metrics = again.evaluation["metrics"]
    assert metrics["test/loss"] == pytest.approx(record.epochs[-1].metrics["val/loss"])
    assert metrics["test/accuracy"] == record.epochs[-1].metrics["val/accuracy"]
    assert again.status == "completed"


def test_evaluate_takes_single_keys_from_the_command_line(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the group stays the checkpoint's; the record's configuration is what was run."""
    train(compose(*TINY))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    monkeypatch.setattr("hpml.config.command_line.overrides", lambda: ["data.batch_size=5"])
    cfg = compose(
        "device=cpu", f"evaluate={path}", "data.batch_size=5", f"run_dir={tmp_path / 'e'}"
    )
    again = train(cfg)
    assert again.config["data"]["batch_size"] == 5
    assert again.config["data"]["_target_"] == "hpml.data.Synthetic"
    assert again.config["model"]["_target_"] == "hpml.models.small"


def test_evaluate_says_what_is_wrong_with_a_file(compose: Compose, tmp_path: Path) -> None:
    """No file, no checkpoint, and the checkpoint of another program."""
    for name, content in (("text", b"no checkpoint"), ("other", None)):
        if content is None:
            torch.save({"state_dict": {}}, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"evaluate=.*{name}: no checkpoint of hpml"):
            train(compose(*TINY, f"evaluate={tmp_path / name}"))
    with pytest.raises(UserError, match="there is no such file"):
        train(compose(*TINY, "evaluate=nowhere.ckpt"))


@pytest.mark.parametrize("pipeline", ["batched", "device"])
def test_a_loss_that_is_not_finite_fails_the_run(
    compose: Compose, tmp_path: Path, pipeline: str
) -> None:
    """The record says failed, the message says where, and no checkpoint holds the weights."""
    cfg = compose(*TINY, "optimizer.lr=1e30", f"data.pipeline={pipeline}")
    with pytest.raises(RunFailedError, match=r"train/loss is not finite in epoch 0, step 1"):
        train(cfg)
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "failed"
    assert record.error is not None
    assert record.error["type"] == "RunFailedError"
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_on_the_cpu_the_weights_are_not_touched(compose: Compose) -> None:
    """The step that meets the loss does not reach the optimizer."""
    cfg = compose(*TINY, "logger=none")
    data = build_data(cfg)
    module = build_module(cfg, data)
    with torch.no_grad():
        module.network[-1].bias.fill_(float("nan"))
    before = module.network[0][0].weight.clone()
    with pytest.raises(RunFailedError, match="step 0"):
        build_trainer(cfg, []).fit(module, datamodule=data)
    assert torch.equal(module.network[0][0].weight, before)


class BreaksWeights(L.Callback):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.network[-1].bias.fill_(float("inf"))


class Elsewhere(torch.Tensor):
    """A tensor that claims to be on a device."""

    is_cpu = False


def test_away_from_the_cpu_the_loss_is_looked_at_now_and_then(compose: Compose) -> None:
    """A bad loss is raised at the second look after it, however good the losses after."""
    cfg = compose(*TINY)
    module: Any = build_module(cfg, build_data(cfg))
    bad, good = (torch.tensor(value).as_subclass(Elsewhere) for value in (float("nan"), 1.0))
    for step in range(3):
        module._watch(good, step)
    module._watch(bad, 3)
    for step in range(4, 2 * FINITE_CHECK_EVERY_N_STEPS - 1):
        module._watch(good, step)
    with pytest.raises(RunFailedError, match="epoch 0, step 49"):
        module._watch(good, 49)
    module.on_train_start()
    module._watch(good, 0)
    assert module._finite.all_so_far()
    module._watch(bad, 1)
    assert not module._finite.all_so_far()


def test_what_a_module_keeps_besides_tensors_is_saved(compose: Compose, tmp_path: Path) -> None:
    """torch's `get_extra_state` may give anything."""

    class Counting(torch.nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"seen": 3}

        def set_extra_state(self, state: dict[str, int]) -> None:
            self.seen = state["seen"]

    cfg = compose(*TINY, f"run_dir={tmp_path / 'run'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.nn.Linear", Counting)
        train(cfg)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert {"seen": 3} in saved["state_dict"].values()


def test_weights_that_are_not_finite_are_not_saved(compose: Compose, tmp_path: Path) -> None:
    """Also where every loss was finite: the last step may have broken the weights."""
    cfg = compose(*TINY, "+callbacks.mine._target_=test_train.BreaksWeights")
    with pytest.raises(
        RunFailedError, match="is not finite after epoch 0; no checkpoint was written"
    ):
        train(cfg)
    assert not list((tmp_path / "run").rglob("*.ckpt"))


class Breaks(L.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise ZeroDivisionError("on purpose")


def test_any_exception_is_in_the_record(compose: Compose, tmp_path: Path) -> None:
    """A callback of the user's own that raises: failed, with type and message."""
    cfg = compose(*TINY, "+callbacks.mine._target_=test_train.Breaks")
    with pytest.raises(ZeroDivisionError):
        train(cfg)
    record = RunRecord.read(tmp_path / "run")
    assert (record.status, record.error) == (
        "failed",
        {"type": "ZeroDivisionError", "message": "on purpose"},
    )
    assert record.wall_s is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_in_the_record(compose: Compose, tmp_path: Path, number: int) -> None:
    """The run ends in order: interrupted, with the epochs that were finished."""

    def send() -> None:
        while not list(tmp_path.rglob("last.ckpt")):
            time.sleep(0.01)
        time.sleep(0.2)  # the checkpoint is written before its epoch ends
        os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(RunInterrupted):
        train(compose(*TINY, "trainer.max_epochs=10000"))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "interrupted"
    assert record.error == {"type": "Interrupted", "message": signal.Signals(number).name}
    assert len(record.epochs) >= 1
    assert signal.getsignal(number) is handler


def test_a_profiler_reports(compose: Compose, caplog: pytest.LogCaptureFixture) -> None:
    """What the Trainer's own profiler measured is shown."""
    train(compose(*TINY, "trainer.profiler=simple", "trainer.max_epochs=1"))
    assert "run_training_epoch" in caplog.text


class Deletes(L.Callback):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        shutil.rmtree(trainer.default_root_dir, ignore_errors=True)


def test_a_directory_that_is_deleted_is_told(compose: Compose, tmp_path: Path) -> None:
    """Which file could not be written, and nothing of what followed from it."""
    own = "+callbacks.mine._target_=test_train.Deletes"
    overrides = [own, "trainer.enable_checkpointing=false", "logger=none"]
    with pytest.raises(RunFailedError, match=r"record.json.*: No such file or directory"):
        train(compose(*TINY, *overrides))


def test_a_full_disk_keeps_how_the_run_ended(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room for a new record, the old one is written over."""
    write = RunRecord.write

    def until_full(record: RunRecord, directory: Path) -> None:
        if record.epochs:
            raise OSError(errno.ENOSPC, "No space left on device", str(directory / "record.json"))
        write(record, directory)

    monkeypatch.setattr(RunRecord, "write", until_full)
    with pytest.raises(RunFailedError, match=r"record.json: No space left on device"):
        train(compose(*TINY, "trainer.max_epochs=12"))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "failed"
    assert len(record.epochs) < 12  # as many as find room


class Swallows(L.Callback):
    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.swallow)

    def swallow(self, *_: Any, **__: Any) -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


@pytest.mark.parametrize("hook", ["setup", "on_train_epoch_end", "on_train_end"])
def test_a_signal_counts_where_its_exception_is_swallowed(
    compose: Compose, tmp_path: Path, hook: str
) -> None:
    """By a callback of the user's own, or by an import: the run is interrupted all the same."""
    own = f"+callbacks.mine={{_target_:test_train.Swallows,hook:{hook}}}"
    with pytest.raises(RunInterrupted):
        train(compose(*TINY, own))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "interrupted"
    steps = {"setup": [], "on_train_epoch_end": [3, 0], "on_train_end": [3, 3]}
    assert [epoch.steps for epoch in record.epochs] == steps[hook]


def test_channels_last_changes_no_name(compose: Compose, tmp_path: Path) -> None:
    """Its checkpoint loads into the plain network, and it learned the same."""
    plain = checkpoint_of(compose, tmp_path)
    fast = checkpoint_of(compose, tmp_path, "channels_last=true")
    assert list(plain["state_dict"]) == list(fast["state_dict"])
    for name, value in plain["state_dict"].items():
        torch.testing.assert_close(value, fast["state_dict"][name], rtol=0.05, atol=0.01)


def test_compile_changes_no_name(compose: Compose, tmp_path: Path) -> None:
    """A compiled network's checkpoint loads into the plain one, and it learned the same."""
    plain = checkpoint_of(compose, tmp_path, "trainer.max_epochs=1")
    compiled = checkpoint_of(compose, tmp_path, "trainer.max_epochs=1", "compile=true")
    assert list(plain["state_dict"]) == list(compiled["state_dict"])
    for name, value in plain["state_dict"].items():
        torch.testing.assert_close(value, compiled["state_dict"][name], rtol=0.05, atol=0.01)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["scheduler=cosine", "trainer.max_epochs=-1", "trainer.max_steps=3"],
            "scheduler.T_max=-1",
        ),
        (["scheduler=multistep", "scheduler.gamma=abc"], "scheduler.gamma=abc: give a number"),
        (["scheduler=multistep", "scheduler.milestones=3"], "scheduler.milestones=3: give"),
        (
            ["scheduler=one_cycle", "trainer.max_epochs=-1", "trainer.max_time=00:00:01:00"],
            "scheduler.total_steps=null: this run has no known end",
        ),
        (["scheduler=one_cycle", "scheduler.total_steps=2"], "total_steps=2: the run has 6; give"),
        (["model.num_classes=3"], "model.num_classes=3: the data has 10; give null"),
        (["data.mean=[a,b,c]"], r"data.mean=\[.*: give a list of 3, each a number"),
        (["data.std=0.5"], "data.std=0.5: give a list of 3, each a number above 0"),
        (["optimizer=adam", "optimizer.betas=3"], "optimizer.betas=3: give a list of 2"),
        (["data.val_split=0.5", "monitor=lr"], "monitor=lr: with data.val_split"),
    ],
)
def test_what_would_break_or_mislead_is_refused(
    compose: Compose, overrides: list[str], message: str
) -> None:
    """Wrong in silence, or by an error of torch's: told by its key instead."""
    with pytest.raises(UserError, match=message):
        train(compose(*TINY, *overrides))


@pytest.mark.parametrize("scheduler", ["cosine", "multistep", "one_cycle"])
def test_schedulers_reach_their_end(compose: Compose, scheduler: str) -> None:
    """Each steps by its own interval over the whole run."""
    record = train(compose(*TINY, f"scheduler={scheduler}", "trainer.max_epochs=5"))
    rates = [epoch.metrics["lr"] or 0 for epoch in record.epochs]
    assert rates[-1] < 0.1 * max(rates)


@pytest.mark.parametrize(
    "optimizer", ["sgd", "nesterov", "adagrad", "adadelta", "adam", "adamw", "rmsprop"]
)
def test_every_optimizer_trains(compose: Compose, optimizer: str) -> None:
    """Six epochs lower the loss, at the default learning rate."""
    size = ("data.train_samples=512", "data.batch_size=32", "trainer.max_epochs=6")
    epochs = train(compose(*TINY, f"optimizer={optimizer}", *size)).epochs
    losses = [epoch.metrics["train/loss"] or 0 for epoch in epochs]
    assert losses[-1] < 0.95 * losses[0]


def test_what_the_trainer_refuses_is_named(compose: Compose) -> None:
    """Lightning's own message, behind the group that it is about."""
    with pytest.raises(UserError, match=r"trainer: .*nowhere"):
        train(compose(*TINY, "trainer.strategy=nowhere"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(compose: Compose) -> None:
    """What to give instead."""
    with pytest.raises(UserError, match="device=gpu: PyTorch sees no GPU here"):
        train(compose(*TINY, "device=gpu"))


class Broken(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(0.5, 3)  # type: ignore[arg-type]


def test_an_error_in_code_of_ones_own_comes_through(compose: Compose) -> None:
    """It is no wrong value of the configuration: its author needs the traceback."""
    cfg = compose(*TINY)
    cfg.model = {"_target_": "test_train.Broken"}
    with pytest.raises(TypeError) as caught:
        train(cfg)
    assert "torch.nn.Linear(0.5, 3)" in str(caught.getrepr(style="long"))


def test_keys_of_ones_own_may_have_our_names(compose: Compose) -> None:
    """Rules are for our options; another class's `init` or `norm` is its own."""
    cfg = compose(*TINY)
    cfg.model = {"_target_": "test_train.OwnModule", "num_classes": "ten", "norm": "group"}
    check(cfg)


class OwnModule(L.LightningModule):
    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * size * size, num_classes)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])
        self.log("my_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class OwnData(L.LightningDataModule):
    num_classes = 2

    def train_dataloader(self) -> Any:
        images, labels = torch.zeros(12, 3, 8, 8), torch.zeros(12, dtype=torch.long)
        return torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(images, labels), batch_size=4
        )


def test_a_module_of_ones_own_trains_like_ours(compose: Compose) -> None:
    """A LightningModule by `_target_` gets the number of classes, a record and its own metrics."""
    cfg = compose(*TINY, "data.train_samples=32", "data.image_size=8", "monitor=my_loss")
    cfg.model = {"_target_": "test_train.OwnModule", "num_classes": None, "size": 8}
    record = train(cfg)
    assert record.status == "completed"
    assert "my_loss" in record.epochs[-1].metrics


def test_data_of_ones_own_trains_like_ours(compose: Compose) -> None:
    """A LightningDataModule by `_target_`, with our network."""
    cfg = compose(*TINY)
    cfg.data = {"_target_": "test_train.OwnData"}
    record = train(cfg)
    assert record.epochs[0].samples == 12
    assert record.model is not None
    assert record.epochs[0].metrics["train/accuracy"] is not None


class OwnValidatedData(OwnData):
    val_dataloader = OwnData.train_dataloader


class SeesSanityChecks(L.Callback):
    seen = 0

    def on_sanity_check_start(self, *_: Any) -> None:
        SeesSanityChecks.seen += 1


def test_only_what_is_not_ours_is_tried_before_training(compose: Compose) -> None:
    """Our validation works; that of a user's data is tried on two batches, or as many as asked."""
    mine = "+callbacks.mine._target_=test_train.SeesSanityChecks"
    SeesSanityChecks.seen = 0
    train(compose(*TINY, mine, "trainer.max_epochs=1"))
    assert SeesSanityChecks.seen == 0
    train(compose(*TINY, mine, "trainer.max_epochs=1", "trainer.num_sanity_val_steps=1"))
    assert SeesSanityChecks.seen == 1
    cfg = compose(*TINY, mine, "trainer.max_epochs=1")
    cfg.data = {"_target_": "test_train.OwnValidatedData"}
    train(cfg)
    assert SeesSanityChecks.seen == 2


def test_a_network_of_ones_own_is_wrapped(compose: Compose) -> None:
    """Any torch.nn.Module is trained by our module."""
    cfg = compose(*TINY)
    cfg.model = {"_target_": "torchvision.models.squeezenet1_1", "num_classes": None}
    assert train(cfg).status == "completed"
