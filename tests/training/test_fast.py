"""The fast paths compute what the plain one does, and a run reports what they cost to begin."""

import copy
import importlib
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.configurations import QUICK, Compose, slow, stress
from helpers.trained import Trained, trained
from torch.nn import functional as F

from hpml.callbacks.weight_averaging import EMAWeightAveraging
from hpml.config.auto import on_device
from hpml.data.augment import draw
from hpml.data.build import build_data
from hpml.errors import UserError
from hpml.train import train
from hpml.training.build import build_trainer
from hpml.training.prepare import prepare

STEPS = 50
JOB = (
    *("data=synthetic", "model=small", "model.width=4", "device=cpu", "optimizer.lr=0.002"),
    *("data.batch_size=16", f"data.train_samples={16 * STEPS}", "data.test_samples=16"),
    *("trainer.max_epochs=1", "callbacks=none", "logger=none", "data.image_size=16"),
)
SHORT = ("data.train_samples=40", "trainer.max_epochs=2")  # whose last batches are short
# Measured: 4e-7 to 2e-5 for float32, 9e-3 for bfloat16, whose step at 1 is 8e-3.
FLOAT32, BFLOAT16 = 1e-3, 5e-2
Runs = Callable[..., Trained]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Trains the job with some overrides, each of them once, and counts what it compiles."""

    @cache
    def run(*overrides: str) -> Trained:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        done = trained(tmp_path_factory.mktemp("run"), *JOB, *overrides)
        done.graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        return done

    return run


PLAIN = "optimizer.fused=false"


@pytest.mark.parametrize(
    ("override", "tolerance"),
    [
        ("channels_last=true", FLOAT32),
        slow("data.pipeline=device", FLOAT32),
        slow("trainer.precision=bf16-mixed", BFLOAT16),
        slow("compile=true", FLOAT32),
        stress("experiment=fast", BFLOAT16),  # all of them: compiled once more
    ],
)
def test_losses_of_plain_path(runs: Runs, override: str, tolerance: float) -> None:
    """Fifty steps on a fast path lose what they do on the plain one, as far as it rounds."""
    expected, losses = runs(PLAIN).losses, runs(override).losses
    assert len(expected) == len(losses) == STEPS
    assert np.ptp(expected) > 2 * tolerance * max(expected)  # another step's loss would be seen
    np.testing.assert_allclose(losses, expected, rtol=tolerance)


def test_compiling_comes_before_the_first_epoch(runs: Runs) -> None:
    """Recorded, and announced; nothing is compiled for a short last batch or a validation."""
    run = runs("compile=true", *SHORT)
    assert 0 < run.record.compile_s < run.record.startup_s
    assert runs(*SHORT).record.compile_s is None
    assert "compiling the network" in run.messages
    assert "compiled in " in run.messages
    assert [(epoch.steps, epoch.samples) for epoch in run.record.epochs] == [(3, 40)] * 2
    assert run.graphs == 1


@pytest.mark.parametrize("override", ["compile=true", "channels_last=true"])
def test_no_name_changes(runs: Runs, override: str) -> None:
    """A fast network's checkpoint loads into the plain one, and it learned the same."""
    plain, fast = runs(*SHORT).weights, runs(override, *SHORT).weights
    assert list(plain) == list(fast)
    torch.testing.assert_close(fast, plain, rtol=0.05, atol=0.01)


def test_compiling_leaves_no_trace(compose: Compose) -> None:
    """Weights, means, draws and modes are as without."""
    job = prepare(compose(*JOB, "compile=true"))
    module: Any = job.module
    module.network.append(torch.nn.Dropout(0.5))
    module.network.compile(backend="eager")  # what it is compiled to does not matter here
    module.trainer = build_trainer(job.cfg)
    before = copy.deepcopy(module.state_dict())
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    module.network[-1].eval()
    module.on_fit_start()
    assert [layer.training for layer in module.network] == [True] * 8 + [False]
    assert torch.equal(torch.get_rng_state(), expected)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_what_cannot_be_compiled_is_reported(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any
) -> None:
    """A machine without a compiler gets one line; with `auto` it runs as it is."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch._dynamo.reset()
    other_shape = "data.batch_size=24"  # which no other test compiles for
    with importlib.import_module("torch._inductor.config").patch({"cpp.cxx": ("no-compiler",)}):
        with pytest.raises(UserError, match=r"compile: torch cannot compile .*no-compiler"):
            train(compose(*JOB, "compile=true", other_shape))
        assert on_device(compose(*JOB, "compile=auto"))[1] == {"compile": False}
    assert "no C++ compiler is here" in caplog.text
    assert on_device(compose(*JOB, "compile=auto"))[1] == {"compile": "default"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ("reduce-overhead", "bf16-mixed", "device")),
        (["trainer.accumulate_grad_batches=2"], ("default", "bf16-mixed", "device")),
        (["model._target_=mine.Own"], ("default", "bf16-mixed", "device")),
        (["data=image_folder"], ("reduce-overhead", "bf16-mixed", "batched")),
        (["data=image_folder", "data.in_memory=true"], ("reduce-overhead", "bf16-mixed", "device")),
    ],
)
def test_auto_gpu(compose: Compose, monkeypatch: Any, overrides: list[str], expected: Any) -> None:
    """CUDA graphs where nothing outlives a step; on the device what is in memory anyway."""
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: "g++")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)
    cfg = compose("data=synthetic", "experiment=fast", *overrides)
    assert tuple(on_device(cfg)[1].values()) == expected
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert on_device(cfg)[1]["compile"] is False


def test_data_of_ones_own_has_no_auto(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """`experiment=fast` has a pipeline, which it lacks; a plain run looks for no compiler."""
    cfg = compose("data=synthetic", "experiment=fast", "compile=false")
    cfg.data._target_ = "mine.Data"
    found, chosen = on_device(cfg)
    assert list(chosen) == ["trainer.precision"]
    assert not {"pipeline", "eval_batch_size"} & set(found.data)
    asked = "torch._inductor.cpp_builder.get_cpp_compiler"
    monkeypatch.setattr(asked, lambda: pytest.fail("was asked"))
    assert on_device(compose(*QUICK)) == (compose(*QUICK), {})


def test_clipping_in_float16_is_not_fused(compose: Compose) -> None:
    """Lightning refuses a fused optimizer there."""
    for given, fused in ((["trainer.gradient_clip_val=1"], False), ([], True)):
        module: Any = prepare(compose(*QUICK, "trainer.precision=16-mixed", *given)).module
        assert module.make_optimizer(module.parameters()).defaults["fused"] is fused


def test_averages_lie_where_the_module_does(compose: Compose) -> None:
    """Lightning makes them earlier; after n updates the decay is at most (1 + n) / (10 + n)."""
    average, module = EMAWeightAveraging(), prepare(compose(*QUICK)).module
    average.setup(None, module, "fit")
    average.on_fit_start(None, module.to("meta"))
    assert {p.device.type for p in average._average_model.parameters()} == {"meta"}
    averaged = EMAWeightAveraging(decay=0.98)._kwargs["avg_fn"]
    for updates, kept in ((1, 2 / 11), (90, 0.91), (10_000, 0.98)):
        found = averaged(torch.ones(3), torch.zeros(3), torch.tensor(updates))
        assert found.tolist() == pytest.approx([kept] * 3)


def test_validation_takes_batches_of_its_own_size(compose: Compose) -> None:
    """`data.eval_batch_size` is that of validation and test alone."""
    data: Any = build_data(compose(*QUICK, "data.eval_batch_size=20"))
    assert [len(images) for images, _ in data.val_dataloader()] == [20, 12]
    assert [len(images) for images, _ in data.test_dataloader()] == [20, 12]
    assert {len(images) for images, _ in data.train_dataloader()} == {32}


def test_alternating_flips_show_both_sides_in_two_epochs(compose: Compose) -> None:
    """Half of the samples begin flipped; each is flipped in every other epoch."""
    indices = np.arange(10_000)
    flips = [draw(0, np.full(10_000, e), indices, flip="alternating").flip for e in range(4)]
    assert abs(flips[0].mean() - 0.5) < 0.02
    np.testing.assert_array_equal(flips, [flips[0], ~flips[0]] * 2)
    random = draw(0, np.full(10_000, 1), indices)
    same = draw(0, np.full(10_000, 1), indices, flip="alternating")
    np.testing.assert_array_equal([random.top, random.left], [same.top, same.left])
    for pipeline in PIPELINES:
        cfg = compose(*QUICK, "data.flip=alternating", pipeline)
        assert build_data(cfg).train.drawing.keywords == {"flip": "alternating"}


def test_labels_are_smoothed_in_training_alone(compose: Compose) -> None:
    """`label_smoothing` is that of torch's cross-entropy; val/loss is the plain one."""
    module: Any = prepare(compose(*QUICK, "label_smoothing=0.1")).module
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    module.eval()  # so that both calls normalise alike
    expected = F.cross_entropy(module(images), labels, label_smoothing=0.1)
    assert torch.equal(module.training_step((images, labels), 0), expected)
    module.validation_step((images, labels), 0)
    plain = F.cross_entropy(module(images), labels)
    assert module.eval_means.totals(module.device)[0] == pytest.approx(8 * plain.item())


def test_mirror_images_are_averaged_in_evaluation_alone(compose: Compose) -> None:
    """`tta` takes the mean of an image's logits and its mirror image's; all else stays plain."""
    module: Any = prepare(compose(*QUICK, "tta=true")).module
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    module.eval()
    with torch.no_grad():
        logits, mirrored = module(images), module(torch.flip(images, [3]))
        trained = module.training_step((images, labels), 0)
        module.validation_step((images, labels), 0)
    assert torch.equal(trained, F.cross_entropy(logits, labels))
    for means, expected in (
        (module.eval_means, logits),
        (module.tta_means, (logits + mirrored) / 2),
    ):
        loss = F.cross_entropy(expected, labels).item()
        right = (expected.argmax(dim=1) == labels).sum().item()
        assert means.totals(module.device).tolist() == pytest.approx([8 * loss, right, 8])
    assert not torch.equal(logits, mirrored)


def test_both_accuracies_are_kept_and_told(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a run and by an evaluation of its checkpoint; a run without `tta` has neither."""
    with caplog.at_level("INFO", logger="hpml"):
        record = train(compose(*QUICK, "tta=true", "monitor=val/tta_accuracy"))
    plain, both = map(record.last_metric, ("val/accuracy", "val/tta_accuracy"))
    assert f"val/tta_accuracy {both:.2%} with mirror images, {plain:.2%} without" in caplog.text
    last = next(tmp_path.rglob("last.ckpt"))
    words = (f"evaluate={last}", "tta=true", "device=cpu", f"run_dir={tmp_path / 'again'}")
    again = train(compose(*words, typed=True)).evaluation
    assert again is not None
    names = ("accuracy", "loss", "tta_accuracy", "tta_loss")
    assert again["metrics"] == pytest.approx(
        {f"test/{name}": record.last_metric(f"val/{name}") for name in names}
    )
    with pytest.raises(UserError, match="monitor=val/tta_accuracy: give one of train/loss"):
        prepare(compose(*QUICK, "monitor=val/tta_accuracy"))


@pytest.mark.parametrize("name", ["cifar26", "cifar80", "cifar200"])
def test_the_recipes_for_accuracy_train(compose: Compose, name: str) -> None:
    """Each trains and validates at its end, with its schedule and its averages."""
    job = [*QUICK, "compile=false", "data.train_samples=320", "optimizer.lr=0.1"]
    cfg = compose(f"experiment={name}", *(o for o in job if o != "callbacks=none"))
    cfg.data.batch_size = 32
    record = train(cfg)
    assert record.status == "completed"
    assert record.last_metric("val/accuracy") is not None
    assert (record.last_metric("val/tta_accuracy") is None) == (name == "cifar200")
    assert record.last_metric("lr") == pytest.approx(0, abs=0.01)
    kinds = [type(callback) for callback in build_trainer(on_device(cfg)[0]).callbacks]
    assert kinds.count(EMAWeightAveraging) == (name == "cifar80")


PIPELINES = [f"data.pipeline={name}" for name in ("batched", "device", "per_sample")]
TOGETHER = [
    *itertools.product(("trainer.precision=bf16-true", "trainer.precision=64-true"), PIPELINES),
    # an optimizer may have no momentum to cycle
    *(("scheduler=one_cycle", f"optimizer={name}") for name in ("adagrad", "adadelta", "sgd")),
]


@pytest.mark.parametrize("overrides", TOGETHER, ids=" ".join)
def test_what_goes_together_trains(compose: Compose, overrides: tuple[str, ...]) -> None:
    """A network all of another precision with images from each pipeline; one cycle of the rate."""
    assert train(compose(*QUICK, *overrides)).status == "completed"


@pytest.mark.parametrize(
    ("overrides", "key", "momentum"),
    [
        (("optimizer=sgd", "optimizer.momentum=0"), "momentum", 0),
        (("optimizer=sgd", "optimizer.momentum=0.8"), "momentum", 0.95),
        (("optimizer=adam", "optimizer.betas=[0.0,0.9]"), "betas", (0, 0.9)),
        (("optimizer=adam", "optimizer.betas=[0.8,0.9]"), "betas", (0.95, 0.9)),
    ],
)
def test_one_cycle_gives_no_momentum_where_there_is_none(
    compose: Compose, overrides: tuple[str, ...], key: str, momentum: float | tuple[float, ...]
) -> None:
    """A momentum of 0 stays 0; another begins at the top of the cycle."""
    module = prepare(compose(*QUICK, "scheduler=one_cycle", *overrides)).module
    optimizer = module.make_optimizer(module.parameters())
    module.make_scheduler(optimizer, total_steps=4)
    value = optimizer.param_groups[0][key]
    assert (tuple(value) if key == "betas" else value) == momentum
