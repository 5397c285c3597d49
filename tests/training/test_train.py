"""Whole runs, in this process, on tiny data."""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import signal
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.configurations import OWN_DATA, OWN_MODULE, QUICK, Compose, slow
from helpers.own import hooked
from helpers.trained import Trained, trained
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from torch.nn import functional as F

from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.errors import RunFailedError, UserError
from hpml.models.image_classifier import FINITE_CHECK_EVERY_N_STEPS
from hpml.records.phases import TIMES
from hpml.records.run_record import RunRecord
from hpml.system.environment import SWEPT
from hpml.system.signals import RunInterrupted
from hpml.train import job, train
from hpml.training.build import build_trainer
from hpml.training.prepare import prepare


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run of the tests that only look at what it leaves."""
    return trained(tmp_path_factory.mktemp("tiny") / "run", *QUICK, "data.test_samples=33")


def test_a_run_leaves_a_whole_record(tiny: Trained) -> None:
    """What train returns is what is on the disk, with every key of the contract."""
    record = tiny.record
    assert record == RunRecord.read(tiny.folder)
    assert (record.status, record.error) == ("completed", None)
    assert record.config == json.loads(json.dumps(resolve(tiny.cfg)))
    assert (record.model["conv_layers"], record.model["linear_in_features"]) == (5, 32)
    assert record.environment["device"] == "cpu"
    counts = [(epoch.epoch, epoch.steps, epoch.samples) for epoch in record.epochs]
    assert counts == [(0, 3, 96), (1, 3, 96)]
    for epoch in record.epochs:
        names = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr"}
        assert set(epoch.metrics) == names
        assert epoch.samples_per_s == 96 / epoch.time["epoch_s"]
        phases = [epoch.time[name] for name in TIMES[1:]]
        assert sum(phases) == pytest.approx(epoch.time["epoch_s"])
        assert min(phases[2:]) > 0
        assert sum(epoch.other_split.values()) == pytest.approx(epoch.time["other_s"])
        assert sum(epoch.train_split.values()) == pytest.approx(epoch.time["train_s"])
        assert epoch.device_time is None
        assert 0 < epoch.step_ms["p50"] <= epoch.step_ms["max"]
        for figure in (epoch.first_batch_s, epoch.peak_memory_mib, epoch.steady_samples_per_s):
            assert figure > 0
        flops = record.model["flops_per_sample"]
        assert epoch.achieved_tflops == pytest.approx(flops * epoch.steady_samples_per_s / 1e12)
    assert set(record.verdict) == {"kind", "basis", "evidence", "advice"}
    parts = [epoch.time["epoch_s"] for epoch in record.epochs]
    assert record.startup_s + sum(parts) + record.finish_s < record.wall_s


def test_the_figures_reach_tensorboard_and_the_trainer(tiny: Trained) -> None:
    """Every metric is a curve with a point an epoch; the last ones are in `callback_metrics`."""
    events = EventAccumulator(str(tiny.folder)).Reload()
    curves = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    expected = {"throughput/samples_per_s", *tiny.record.epochs[0].metrics}
    expected |= {f"time/{name}" for name in TIMES}
    assert expected <= set(curves)
    for name in expected:
        assert [event.step for event in curves[name]] == [2, 5], name
    (laid_out,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(laid_out.tensor_proto.string_val[0])
    charts = [list(chart.multiline.tag) for group in layout.category for chart in group.chart]
    shown = [[tag for tag in curves if any(re.match(p, tag) for p in chart)] for chart in charts]
    learned = ["train/loss", "val/loss", "train/accuracy", "val/accuracy"]  # losses first
    # one line of a run in each: its lines would all have one colour
    assert shown == [[tag] for tag in (*learned, *(f"time/{name}" for name in TIMES[1:]))]
    last = tiny.record.epochs[-1]
    assert curves["val/accuracy"][1].value == pytest.approx(last.metrics["val/accuracy"])
    assert tiny.metrics["time/epoch_s"] == pytest.approx(last.time["epoch_s"])
    assert tiny.metrics["throughput/samples_per_s"] == pytest.approx(last.samples_per_s)


def test_a_run_repeats_bit_for_bit(tmp_path: Path, tiny: Trained) -> None:
    """The same configuration gives the same weights, whatever the number of workers."""
    first = tiny.weights
    again = trained(tmp_path / "again", *QUICK, "data.num_workers=1").weights
    other = trained(tmp_path / "other", *QUICK, "seed=1").weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_metrics_are_means_over_all_samples(tiny: Trained) -> None:
    """An epoch whose last batch is short weighs samples, not batches."""
    job = prepare(tiny.cfg)
    job.module.load_state_dict(tiny.weights)
    job.module.eval()
    losses, right = [], 0
    with torch.no_grad():
        for batch in job.data.val_dataloader():
            images, labels = job.data.on_after_batch_transfer(batch, 0)
            logits = job.module(images)
            losses += F.cross_entropy(logits, labels, reduction="none").tolist()
            right += int((logits.argmax(1) == labels).sum())
    assert len(losses) == 33
    assert tiny.record.last_metric("val/loss") == pytest.approx(sum(losses) / 33, rel=1e-5)
    assert tiny.record.last_metric("val/accuracy") == pytest.approx(right / 33)


def test_a_job_returns(compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For Hydra's sweepers, the last epoch's value; none where a module of one's own logs none."""
    returned = job(compose(*QUICK, "monitor=train/loss"))
    assert returned == RunRecord.read(tmp_path / "run").epochs[-1].metrics["train/loss"]
    assert job(compose(*QUICK, "monitor=val/f1", data=OWN_DATA, model=OWN_MODULE)) is None
    assert "monitor=val/f1: not among my_loss" in caplog.text


def test_what_a_module_of_ones_own_lacks_is_reported(compose: Compose, tmp_path: Path) -> None:
    """A monitor that it does not log, where the best is chosen by it; a step of the test loop."""
    own = [*QUICK, "data.val_split=0.5", "data.image_size=8", "monitor=val/f1"]
    cfg = compose(*own, model=OWN_MODULE)
    with pytest.raises(UserError, match=r"monitor=val/f1: the module does not log it, but my_loss"):
        train(cfg)
    cfg.evaluate = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match="model=ownmodule has no test_step"):
        train(cfg)


def test_a_run_announces_what_it_trains(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With curves and profile at its end; of a module of one's own nothing that has no effect."""
    caplog.set_level("INFO")
    run = trained(tmp_path, *QUICK, "trainer.profiler=simple", "trainer.max_epochs=1")
    assert "run_training_epoch" in caplog.text
    assert re.search("(?s)optimizer=sgd.*curves: tensorboard", run.messages)
    own = ["data.image_size=8", "monitor=my_loss", "logger=csv"]
    run = trained(tmp_path, *QUICK, *own, model=OWN_MODULE)
    assert run.record.status == "completed"
    assert "my_loss" in run.record.epochs[-1].metrics
    assert "record: " in run.messages
    assert not re.search("optimizer=|curves", run.messages)


def losses_of_a_plain_loop(cfg: DictConfig, steps: int) -> list[float]:
    """The first losses of a loop in plain PyTorch on a job's batches."""
    job = prepare(cfg)
    network = job.module.network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses: list[float] = []
    for batch in islice(job.data.train_dataloader(), steps):
        images, labels = job.data.on_after_batch_transfer(batch, 0)
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_losses_equal_those_of_a_plain_loop(tmp_path: Path) -> None:
    """Framework or none: the same numbers from the same batches."""
    run = trained(tmp_path, *QUICK, "data.batch_size=8", "trainer.max_epochs=1", "logger=none")
    assert run.losses == pytest.approx(losses_of_a_plain_loop(run.cfg, steps=12), rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("HPML_REAL_IMAGES"), reason="it names no folder of images")
def test_resnet18_on_real_images_equals_a_plain_loop(tmp_path: Path) -> None:
    """Twenty steps of the main job on real images: relative difference of at most 1e-5."""
    few = ["data.train_samples=80", "data.test_samples=4", "data.batch_size=4"]
    images = [
        "data=image_folder",
        f"data.root={os.environ['HPML_REAL_IMAGES']}",
        "data.verify=false",
        *few,
    ]
    quick = ["trainer.max_epochs=1", "trainer.limit_val_batches=0", "logger=none", "callbacks=none"]
    run = trained(tmp_path, *images, *quick, "device=cpu")
    assert len(run.losses) == 20
    assert run.losses == pytest.approx(losses_of_a_plain_loop(run.cfg, steps=20), rel=1e-5)


def test_best_is_kept_of_validation_alone(compose: Compose, tiny: Trained, tmp_path: Path) -> None:
    """Nothing selects on the test set; what an earlier validation left is not taken for new."""
    assert [file.name for file in tiny.last.parent.iterdir()] == ["last.ckpt"]
    train(compose(*QUICK, "data.val_split=0.25"))
    kept = (tmp_path / "run" / "checkpoints").iterdir()
    assert sorted(file.name for file in kept) == ["best.ckpt", "last.ckpt"]
    record = train(compose(*QUICK, "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"))
    assert [("val/loss" in epoch.metrics) for epoch in record.epochs] == [False, True, False]
    assert all("train/loss" in epoch.metrics for epoch in record.epochs)


def test_evaluate_gives_the_metrics_of_the_last_epoch(compose: Compose, tiny: Trained) -> None:
    """Model and data are the checkpoint's but for single keys typed; test metrics were watched."""
    again = train(compose("device=cpu", f"evaluate={tiny.last}", "data.batch_size=5", typed=True))
    assert (again.model["name"], again.status) == ("small", "completed")
    metrics, watched = again.evaluation["metrics"], tiny.record.epochs[-1].metrics
    assert metrics["test/loss"] == pytest.approx(watched["val/loss"])
    assert metrics["test/accuracy"] == watched["val/accuracy"]
    assert again.config["data"]["batch_size"] == 5
    assert again.config["data"]["_target_"] == "hpml.data.Synthetic"
    assert again.config["model"]["_target_"] == "hpml.models.small"


def test_evaluate_says_what_is_wrong_with_a_file(compose: Compose, tmp_path: Path) -> None:
    """Its own reason: no file, none to load, one cut short, one of another program."""
    (tmp_path / "text").write_bytes(b"no checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "other")
    (tmp_path / "folder").mkdir()
    torch.save({"weights": torch.zeros(100_000)}, tmp_path / "short")
    (tmp_path / "short").write_bytes((tmp_path / "short").read_bytes()[:-100])
    torch.save({"network": torch.nn.Linear(1, 1)}, tmp_path / "network")
    for name, message in (
        ("text", r"cannot be loaded: torch cannot read it \(Unsupported operand"),
        ("folder", "cannot be loaded: Is a directory"),
        ("short", r"cannot be loaded: torch cannot read it \(.*central directory"),
        (
            "network",
            r"cannot be loaded: it holds torch\.nn\.modules\.linear\.Linear, which does not",
        ),
        ("other", "no checkpoint of hpml: it has no hpml_config"),
        ("nowhere", "there is no such file"),
    ):
        with pytest.raises(UserError, match=f"evaluate=.*{name}: {message}"):
            train(compose(*QUICK, f"evaluate={tmp_path / name}"))


NOT_FINITE = r"train/loss is not finite in epoch 0, step 1"
BROKEN = "is not finite after epoch 0; no checkpoint was written"
INFINITE = "optimizer.lr=1e30"


def break_weights(trainer: Any, module: Any) -> None:
    with torch.no_grad():
        module.network[-1].bias.fill_(float("inf"))


def fail(*_: Any) -> None:
    raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize(
    ("words", "hooks", "error", "message"),
    [
        ([INFINITE, "data.pipeline=batched"], {}, RunFailedError, NOT_FINITE),
        ([INFINITE, "data.pipeline=device"], {}, RunFailedError, NOT_FINITE),
        # where every loss was finite, the last step may have broken the weights
        ([], {"on_train_epoch_end": break_weights}, RunFailedError, BROKEN),
        ([], {"on_train_batch_end": fail}, ZeroDivisionError, "^on purpose$"),
    ],
)
def test_a_run_fails(
    compose: Compose, tmp_path: Path, words: Any, hooks: Any, error: Any, message: str
) -> None:
    """The record says how, the message says where, and no checkpoint holds the weights."""
    with pytest.raises(error, match=message) as caught:
        train(compose(*QUICK, hooked(**hooks), *words))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "failed"
    assert record.error == {"type": error.__name__, "message": str(caught.value)}
    assert record.wall_s is not None
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_on_the_cpu_the_weights_are_not_touched(compose: Compose) -> None:
    """The step that meets the loss does not reach the optimizer."""
    job = prepare(compose(*QUICK, "logger=none"))
    break_weights(None, job.module)
    before = job.module.network[0][0].weight.clone()
    with pytest.raises(RunFailedError, match="step 0"):
        build_trainer(job.cfg).fit(job.module, datamodule=job.data)
    assert torch.equal(job.module.network[0][0].weight, before)


Elsewhere = type("Elsewhere", (torch.Tensor,), {"is_cpu": False})  # claims to be on a device


def test_away_from_the_cpu_the_loss_is_looked_at_now_and_then(compose: Compose) -> None:
    """A bad loss is raised at the second look after it, however good the losses after."""
    module: Any = prepare(compose(*QUICK)).module
    bad, good = (torch.tensor(value).as_subclass(Elsewhere) for value in (float("nan"), 1.0))
    for step in range(2 * FINITE_CHECK_EVERY_N_STEPS - 1):
        module._watch(bad if step == 3 else good, step)
    with pytest.raises(RunFailedError, match="epoch 0, step 49"):
        module._watch(good, 49)
    module.on_fit_start()
    module._watch(good, 0)
    assert module._finite.all_so_far()
    module._watch(bad, 1)
    assert not module._finite.all_so_far()


def test_what_is_kept_besides_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's `get_extra_state` may give anything."""

    state = {"get_extra_state": lambda _: {"seen": 3}, "set_extra_state": lambda *_: None}
    monkeypatch.setattr("torch.nn.Linear", type("Counting", (torch.nn.Linear,), state))
    assert {"seen": 3} in trained(tmp_path, *QUICK).weights.values()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_in_the_record(compose: Compose, tmp_path: Path, number: int) -> None:
    """The run ends in order: interrupted, with the epochs that were finished."""

    def send(trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.raises(RunInterrupted):
        train(compose(*QUICK, hooked(on_train_epoch_start=send), "trainer.max_epochs=10000"))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "interrupted"
    assert record.error == {"type": "Interrupted", "message": signal.Signals(number).name}
    assert len(record.epochs) >= 1
    assert signal.getsignal(number) is handler


def test_a_folder_takes_no_record(compose: Compose, tmp_path: Path, monkeypatch: Any) -> None:
    """By the file that could not be written; on a full disk the old record is written over."""
    folder = tmp_path / "run"
    deletes = hooked(on_train_epoch_end=lambda *_: shutil.rmtree(folder, ignore_errors=True))
    with pytest.raises(RunFailedError, match=r"record.json.*: No such file or directory"):
        train(compose(*QUICK, deletes, "trainer.enable_checkpointing=false", "logger=none"))
    write = RunRecord.write

    def until_full(record: RunRecord, directory: Path) -> None:
        if record.epochs:
            raise OSError(errno.ENOSPC, "No space left on device", str(directory / "record.json"))
        write(record, directory)

    monkeypatch.setattr(RunRecord, "write", until_full)
    with pytest.raises(RunFailedError, match=r"record.json: No space left on device"):
        train(compose(*QUICK, "trainer.max_epochs=12"))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "failed"
    assert len(record.epochs) < 12  # as many as find room


def test_a_trace_beside_the_record(compose: Compose, tmp_path: Path, caplog: Any) -> None:
    """By `timing.trace`; where it is, and what of the run is in it, is printed."""
    with caplog.at_level(logging.INFO, "hpml"):
        record = train(compose(*QUICK, "timing.trace=true"))
    events = json.loads((tmp_path / "run" / "trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "epoch"]
    assert names == [f"epoch {epoch.epoch}" for epoch in record.epochs]
    assert "trace.json (all steps of each epoch; to open at " in caplog.text


def swallow_a_signal(*_: Any, **__: Any) -> None:
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


@pytest.mark.parametrize(
    ("hook", "steps"), [("setup", []), ("on_train_epoch_end", [3, 0]), ("on_train_end", [3, 3])]
)
def test_a_swallowed_signal(compose: Compose, tmp_path: Path, hook: str, steps: list[int]) -> None:
    """By a callback of the user's own, or by an import: the run is interrupted all the same."""
    with pytest.raises(RunInterrupted):
        train(compose(*QUICK, hooked(**{hook: swallow_a_signal})))
    record = RunRecord.read(tmp_path / "run")
    assert record.status == "interrupted"
    assert [epoch.steps for epoch in record.epochs] == steps


def watching(monitor: str, kind: str = "EarlyStopping", more: str = "") -> str:
    """The override that adds a callback of Lightning's with this `monitor`."""
    target = f"_target_:lightning.pytorch.callbacks.{kind}"
    return f"+callbacks.mine={{{target},monitor:{monitor}{more}}}"


NO_WAY = "divides by zero of 4 steps: give another"  # one step has no way up and down
NO_END = "scheduler.total_steps=null: this run has no known end"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("scheduler=cosine trainer.max_epochs=-1 trainer.max_steps=3", "scheduler.T_max=-1"),
        ("scheduler=multistep scheduler.gamma=abc", "scheduler.gamma=abc: give a number"),
        ("scheduler=multistep scheduler.milestones=3", "scheduler.milestones=3: give"),
        ("scheduler=one_cycle trainer.max_epochs=-1 trainer.max_time=00:00:01:00", NO_END),
        ("scheduler=one_cycle scheduler.total_steps=2", "total_steps=2: the run has 6; give"),
        ("scheduler=one_cycle scheduler.pct_start=0.25 data.batch_size=48", NO_WAY),
        ("model.num_classes=3", "model.num_classes=3: the data has 10; give null"),
        ("model._target_=nowhere.network", "model._target_=nowhere.network: cannot be loaded"),
        ("data.batch_size=97", "data.batch_size=97: the training set has only 96"),
        ("data.mean=[a,b,c]", r"data.mean=\[.*: give a list of 3, each a number"),
        ("data.std=0.5", "data.std=0.5: give a list of 3, each a number above 0"),
        ("optimizer=adam optimizer.betas=3", "optimizer.betas=3: give a list of 2"),
        ("data.val_split=0.5 monitor=lr", "monitor=lr: with data.val_split"),
        ("monitor=val/f1", "monitor=val/f1: give one of train/loss, .*"),
        (watching("val/los"), r"callbacks.mine.monitor=val/los: give one of train/loss, .*, lr$"),
        (watching("val/f1", "ModelCheckpoint"), r"callbacks.mine.monitor=val/f1: .*, epoch, step$"),
        (
            f"{watching('val/loss')} trainer.limit_val_batches=0",
            r"callbacks.mine.monitor=val/loss: .*, lr; there is no validation",
        ),
        ("trainer.strategy=nowhere", r"trainer: .*nowhere"),
        # Lightning knows only in `fit` that an epoch has fewer batches
        ("trainer.val_check_interval=100", r"trainer: +`val_check_interval` \(100\) must be"),
        pytest.param(
            *("device=gpu", "device=gpu: PyTorch sees no GPU here"),
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_would_mislead_is_refused(
    compose: Compose, tmp_path: Path, overrides: str, message: str
) -> None:
    """Wrong in silence, or by an error of torch's or Lightning's: told by its key instead."""
    with pytest.raises(UserError, match=message):
        train(compose(*QUICK, *overrides.split()))
    assert not list(tmp_path.rglob("record.json"))  # nothing has begun


def test_what_is_refused_leaves_the_record_that_was_there(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another run in that folder, which nothing trained over; a job of a sweep has to say so."""
    file = tmp_path / "run" / "record.json"
    file.parent.mkdir()
    file.write_text("{}")
    for at_last in ("{}", "has only 96 samples"):
        with pytest.raises(UserError, match="has only 96 samples"):
            train(compose(*QUICK, "data.batch_size=999"))
        assert at_last in file.read_text()
        monkeypatch.setenv(SWEPT, "seed")


def test_a_metric_that_only_the_module_knows(compose: Compose) -> None:
    """A callback that waits for it in vain ends the run in one line; one of ours can be watched."""
    own = [*QUICK, "data.image_size=8", "monitor=my_loss"]
    with pytest.raises(RunFailedError, match="monitor=my_los of a callback: not among my_loss"):
        train(compose(*own, watching("my_los"), model=OWN_MODULE))
    stopped = watching("val/loss", more=",stopping_threshold:1000")
    assert len(train(compose(*QUICK, stopped)).epochs) == 1


@pytest.mark.parametrize("scheduler", ["cosine", "multistep", "one_cycle"])
def test_schedulers_reach_their_end(compose: Compose, scheduler: str) -> None:
    """Each steps by its own interval over the whole run."""
    epochs = train(compose(*QUICK, f"scheduler={scheduler}", "trainer.max_epochs=5")).epochs
    rates = [epoch.metrics["lr"] or 0 for epoch in epochs]
    assert rates[-1] < 0.1 * max(rates)


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", *map(slow, ["nesterov", "adagrad", "adadelta", "adam", "adamw", "rmsprop"])],
)
def test_every_optimizer_trains(compose: Compose, optimizer: str) -> None:
    """Six epochs lower the loss, at the default learning rate."""
    size = ("model.width=8", "data.train_samples=512", "trainer.max_epochs=6")
    epochs = train(compose(*QUICK, f"optimizer={optimizer}", *size)).epochs
    losses = [epoch.metrics["train/loss"] or 0 for epoch in epochs]
    assert losses[-1] < 0.95 * losses[0]


def test_data_and_networks_of_ones_own_train_like_ours(compose: Compose) -> None:
    """Any torch.nn.Module is wrapped; its keys may have our names, its errors show."""
    record = train(compose(*QUICK, data=OWN_DATA))
    assert (record.epochs[0].samples, record.model["name"]) == (12, "small")
    assert record.epochs[0].metrics["train/accuracy"] is not None
    squeezenet = {"_target_": "torchvision.models.squeezenet1_1", "num_classes": None}
    assert train(compose(*QUICK, model=squeezenet)).status == "completed"
    check(compose(*QUICK, model=OWN_MODULE | {"num_classes": "ten", "norm": "group"}))
    with pytest.raises(TypeError) as caught:
        train(compose(*QUICK, model={"_target_": "helpers.own.broken"}))
    assert "torch.nn.Linear(0.5, 3)" in str(caught.getrepr(style="long"))


def test_only_what_is_not_ours_is_tried_before_training(compose: Compose) -> None:
    """Our validation works; that of a user's data is tried on two batches, or as many as asked."""
    seen: list[Any] = []
    mine = [*QUICK, hooked(on_sanity_check_start=lambda *_: seen.append(_)), "trainer.max_epochs=1"]
    asked, theirs = "trainer.num_sanity_val_steps=1", {"_target_": "helpers.own.OwnValidatedData"}
    configurations = compose(*mine), compose(*mine, asked), compose(*mine, data=theirs)
    assert [(train(cfg), len(seen))[1] for cfg in configurations] == [0, 1, 2]
