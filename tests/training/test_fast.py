"""The fast paths compute what the plain one does, and what they cost to begin is told."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.configurations import TINY, Compose
from torch.nn import functional as F

from hpml.callbacks.weight_averaging import EMAWeightAveraging
from hpml.config import auto
from hpml.config.auto import on_device
from hpml.config.checks import check
from hpml.data.augment import draw
from hpml.data.build import build_data
from hpml.errors import UserError
from hpml.train import train
from hpml.training import prepare
from hpml.training.build import build_module, build_trainer

STEPS = 50
JOB = (
    *("data=synthetic", "model=small", "model.width=4", "device=cpu", "optimizer.lr=0.002"),
    *("data.batch_size=16", f"data.train_samples={16 * STEPS}", "data.test_samples=16"),
    *("trainer.max_epochs=1", "callbacks=none", "logger=none", "data.image_size=16"),
)
# Measured: 4e-7 to 2e-5 for float32, 9e-3 for bfloat16, whose step at 1 is 8e-3.
FLOAT32, BFLOAT16 = 1e-3, 5e-2


@pytest.fixture
def losses_of(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The losses of a run's steps."""

    def losses(*overrides: str) -> np.ndarray:
        seen: list[float] = []

        def watched(cfg: Any, data: Any) -> Any:
            module: Any = build_module(cfg, data)
            step = module.training_step

            def training_step(*arguments: Any) -> Any:
                loss = step(*arguments)
                seen.append(loss.item())
                return loss

            module.training_step = training_step
            return module

        monkeypatch.setattr(prepare, "build_module", watched)
        train(compose(*JOB, *overrides))
        return np.array(seen)

    return losses


@pytest.mark.parametrize(
    ("overrides", "tolerance"),
    [
        (["channels_last=true"], FLOAT32),
        (["data.pipeline=device"], FLOAT32),
        (["trainer.precision=bf16-mixed"], BFLOAT16),
        (["compile=true"], FLOAT32),
        (["experiment=fast"], BFLOAT16),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_losses_are_those_of_the_plain_path(
    losses_of: Any, overrides: list[str], tolerance: float
) -> None:
    """Fifty steps on a fast path lose what they do on the plain one, as far as it rounds."""
    plain = losses_of("optimizer.fused=false")
    fast = losses_of(*overrides)
    assert len(plain) == len(fast) == STEPS
    assert np.ptp(plain) > 2 * tolerance * plain.max()  # another step's loss would be seen
    np.testing.assert_allclose(fast, plain, rtol=tolerance)


def test_compiling_comes_before_the_first_epoch_and_leaves_no_trace(compose: Compose) -> None:
    """A compiled run's record says how long that took; weights, means and draws are as without."""
    record = train(compose(*JOB, "compile=true", "trainer.max_steps=1"))
    assert record.compile_s is not None
    assert record.startup_s is not None
    assert 0 < record.compile_s < record.startup_s
    assert train(compose(*JOB, "trainer.max_steps=1")).compile_s is None

    cfg = compose(*JOB, "compile=true")
    data = build_data(cfg)
    module: Any = build_module(cfg, data)
    module.network.append(torch.nn.Dropout(0.5))
    module.trainer = build_trainer(cfg, [])
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    module.network[-1].eval()
    module.on_fit_start()
    assert [layer.training for layer in module.network] == [True] * 8 + [False]
    assert torch.equal(torch.get_rng_state(), expected)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_one_graph_is_compiled(compose: Compose) -> None:
    """Neither an epoch's short last batch nor a validation is compiled for."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    cfg = compose(*JOB, "compile=true", "data.train_samples=40", "trainer.max_epochs=2")
    record = train(cfg)
    assert [(epoch.steps, epoch.samples) for epoch in record.epochs] == [(3, 40)] * 2
    assert counters["stats"]["unique_graphs"] == 1


def test_what_cannot_be_compiled_is_told(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine without a compiler gets one line; with `auto` it runs as it is."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch._dynamo.reset()
    other_shape = "data.batch_size=24"  # which no other test compiles for
    with importlib.import_module("torch._inductor.config").patch({"cpp.cxx": ("no-compiler",)}):
        with pytest.raises(UserError, match=r"compile: torch cannot compile .*no-compiler"):
            train(compose(*JOB, "compile=true", other_shape))
        assert on_device(compose(*JOB, "compile=auto"))[1] == {"compile": False}
    assert on_device(compose(*JOB, "compile=auto"))[1] == {"compile": "default"}


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_auto_is_what_the_device_offers(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    """`auto` becomes a value that suits the device, the record has it, other values stay."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    cfg = compose(*JOB, "experiment=fast", "compile=false")
    cfg.optimizer.lr = 0.01
    chosen, by_key = on_device(cfg)
    precision = "bf16-mixed" if has_bfloat16 else None
    assert by_key == {"trainer.precision": precision, "data.pipeline": "batched"}
    assert chosen.trainer.precision == precision
    assert (chosen.compile, chosen.data.pipeline) == (False, "batched")
    assert cfg.trainer.precision == "auto"
    record = train(cfg)
    assert record.chosen == by_key
    assert record.config["trainer"]["precision"] == "auto"


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
def test_auto_on_a_gpu(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: Any
) -> None:
    """CUDA graphs where nothing outlives a step; on the device what is in memory anyway."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)
    monkeypatch.setattr(auto, "_has_cpp_compiler", lambda: True)
    cfg = compose("data=synthetic", "experiment=fast", *overrides)
    assert tuple(on_device(cfg)[1].values()) == expected
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert on_device(cfg)[1]["compile"] is False


def test_data_of_ones_own_gets_no_keys_of_ours(compose: Compose) -> None:
    """`experiment=fast` asks for a pipeline, which a data module of the user's own lacks."""
    cfg = compose("data=synthetic", "experiment=fast", "compile=false")
    cfg.data._target_ = "mine.Data"
    found, chosen = on_device(cfg)
    assert list(chosen) == ["trainer.precision"]
    assert not {"pipeline", "eval_batch_size"} & set(found.data)


def test_what_is_not_auto_is_not_asked_for(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain run looks for no compiler: that takes longer than its other checks."""
    monkeypatch.setattr(auto, "_has_cpp_compiler", lambda: pytest.fail("was asked"))
    assert on_device(compose(*TINY)) == (compose(*TINY), {})


def test_clipping_in_float16_is_not_fused(compose: Compose) -> None:
    """Lightning refuses a fused optimizer there."""
    for given, fused in ((["trainer.gradient_clip_val=1"], False), ([], True)):
        cfg = compose(*TINY, "trainer.precision=16-mixed", *given)
        module: Any = build_module(cfg, build_data(cfg))
        assert module.make_optimizer(module.parameters()).defaults["fused"] is fused


def test_averages_lie_where_the_module_does(compose: Compose) -> None:
    """Lightning makes them before it moves the module."""
    average = EMAWeightAveraging()
    module: Any = build_module(compose(*TINY), build_data(compose(*TINY)))
    average.setup(None, module, "fit")  # type: ignore[arg-type]
    average.on_fit_start(None, module.to("meta"))  # type: ignore[arg-type]
    assert {p.device.type for p in average._average_model.parameters()} == {"meta"}  # type: ignore


def test_validation_takes_batches_of_its_own_size(compose: Compose) -> None:
    """`data.eval_batch_size` is that of validation and test alone."""
    data: Any = build_data(compose(*TINY, "data.eval_batch_size=20"))
    assert [len(images) for images, _ in data.val_dataloader()] == [20, 12]
    assert [len(images) for images, _ in data.test_dataloader()] == [20, 12]
    assert {len(images) for images, _ in data.train_dataloader()} == {32}


def test_alternating_flips_show_both_sides_in_two_epochs(compose: Compose) -> None:
    """Half of the samples begin flipped; each is flipped in every other epoch."""
    indices = np.arange(10_000)
    flips = [draw(0, np.full(10_000, e), indices, flip="alternating").flip for e in range(4)]
    assert abs(flips[0].mean() - 0.5) < 0.02
    assert (flips[0] != flips[1]).all()
    assert (flips[0] == flips[2]).all()
    assert (flips[1] == flips[3]).all()
    random = draw(0, np.full(10_000, 1), indices)
    same = draw(0, np.full(10_000, 1), indices, flip="alternating")
    assert (random.top == same.top).all()
    assert (random.left == same.left).all()
    for pipeline in ("batched", "device", "per_sample"):
        cfg = compose(*TINY, "data.flip=alternating", f"data.pipeline={pipeline}")
        assert build_data(cfg).train.drawing.keywords == {"flip": "alternating"}  # type: ignore


def test_labels_are_smoothed_in_training_alone(compose: Compose) -> None:
    """`label_smoothing` is that of torch's cross-entropy; val/loss is the plain one."""
    cfg = compose(*TINY, "label_smoothing=0.1")
    module: Any = build_module(cfg, build_data(cfg))
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    module.eval()  # so that both calls normalise alike
    expected = F.cross_entropy(module(images), labels, label_smoothing=0.1)
    assert torch.equal(module.training_step((images, labels), 0), expected)
    module.validation_step((images, labels), 0)
    plain = F.cross_entropy(module(images), labels)
    assert module.eval_means.totals(module.device)[0] == pytest.approx(8 * plain.item())


@pytest.mark.parametrize("name", ["cifar94", "cifar96", "cifar95_long"])
def test_the_recipes_for_accuracy_train(compose: Compose, name: str) -> None:
    """Each trains and validates at its end, with its schedule and its averages."""
    job = [*TINY, "compile=false", "data.train_samples=320", "optimizer.lr=0.1"]
    cfg = compose(f"experiment={name}", *(o for o in job if o != "callbacks=none"))
    cfg.data.batch_size = 32
    record = train(cfg)
    assert record.status == "completed"
    assert record.last_metric("val/accuracy") is not None
    assert record.last_metric("lr") == pytest.approx(0, abs=0.01)
    averages = [
        callback
        for callback in build_trainer(on_device(cfg)[0], []).callbacks  # type: ignore[attr-defined]
        if isinstance(callback, EMAWeightAveraging)
    ]
    assert len(averages) == (name == "cifar96")


def test_a_schedule_too_long_for_the_run_is_told(compose: Compose) -> None:
    """One step has no way up and down."""
    with pytest.raises(UserError, match="divides by zero of 4 steps: give another"):
        train(
            compose(*TINY, "scheduler=one_cycle", "scheduler.pct_start=0.25", "data.batch_size=48")
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("compile=fastest", "compile=fastest: give one of true, false, auto, default"),
        (
            ["compile=reduce-overhead", "trainer.accumulate_grad_batches=2"],
            "compile=reduce-overhead: its CUDA graphs overwrite the gradients",
        ),
        ("label_smoothing=1", "label_smoothing=1: give a number of at least 0 and below 1"),
        ("data.flip=often", "data.flip=often: give one of random, alternating"),
        ("data.eval_batch_size=0", "data.eval_batch_size=0: give an integer of at least 1 or null"),
        ("data.pipeline=fast", "data.pipeline=fast: give one of per_sample, batched, device, auto"),
        ("optimizer.fused=yes", "optimizer.fused=yes: give true or false or null"),
    ],
)
def test_wrong_values_are_told(compose: Compose, override: str | list[str], message: str) -> None:
    """Each in one line, before anything starts."""
    with pytest.raises(UserError, match=message):
        check(compose(*TINY, *([override] if isinstance(override, str) else override)))


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
@pytest.mark.parametrize("pipeline", ["batched", "device", "per_sample"])
def test_the_whole_network_may_have_another_precision(
    compose: Compose, precision: str, pipeline: str
) -> None:
    """Images come in it too, from each pipeline."""
    cfg = compose(*TINY, f"trainer.precision={precision}", f"data.pipeline={pipeline}")
    assert train(cfg).status == "completed"


@pytest.mark.parametrize("optimizer", ["adagrad", "adadelta", "sgd"])
def test_one_cycle_goes_without_a_momentum(compose: Compose, optimizer: str) -> None:
    """Where the optimizer has none there is nothing to cycle."""
    cfg = compose(*TINY, "scheduler=one_cycle", f"optimizer={optimizer}")
    assert train(cfg).status == "completed"


def test_an_average_of_few_steps_has_left_the_first_weights() -> None:
    """After n updates the decay is at most (1 + n) / (10 + n)."""
    callback = EMAWeightAveraging(decay=0.98)
    averaged = callback._kwargs["avg_fn"]
    for updates, kept in ((1, 2 / 11), (90, 0.91), (10_000, 0.98)):
        found = averaged(torch.ones(3), torch.zeros(3), torch.tensor(updates))
        assert found.tolist() == pytest.approx([kept] * 3)


def test_what_compiling_takes_is_said(compose: Compose, caplog: pytest.LogCaptureFixture) -> None:
    """Before, for it takes a while, and after."""
    with caplog.at_level("INFO", "hpml"):
        train(compose(*TINY, "compile=true"))
    assert "compiling the network" in caplog.text
    assert "compiled in " in caplog.text


def test_no_compiler_is_told(
    compose: Compose, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` then leaves compiling out, and says what is missing."""
    monkeypatch.setattr("hpml.config.auto._has_cpp_compiler", lambda: False)
    _, chosen = on_device(compose(*TINY, "compile=auto"))
    assert chosen == {"compile": False}
    assert "no C++ compiler is here" in caplog.text
