"""What a model is made of: exact counts, networks counted by hand, modules of the user's own."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import Compose
from helpers.programs import run_program
from omegaconf import open_dict
from torch import Tensor, nn
from torch.nn import functional as F

from hpml.data.build import build_data
from hpml.data.storage import ImageSet
from hpml.data.synthetic import Synthetic
from hpml.models.counts import flops_per_sample
from hpml.models.networks import resnet18, small
from hpml.summary import first_steps
from hpml.summary.__main__ import main
from hpml.summary.summarize import DrawnSteps, summarize
from hpml.summary.table import print_summary


def test_the_default_model_and_the_code_that_counts_it(compose: Compose) -> None:
    """The lab's figures for ResNet-18; the printed code, run by itself, gives the same."""
    facts = summarize(compose("+summary.seeds=1", "+summary.batch_size=8"))
    assert (facts["conv_layers_main_path"], facts["conv_layers_shortcuts"]) == (17, 3)
    assert (facts["conv_layers"], facts["linear_in_features"]) == (20, 512)
    assert facts["trainable_parameters"] == facts["gradients"] == 11_173_962
    assert facts["optimizer"]["state_elements"] == 11_173_962
    network = resnet18(10)
    assert facts["flops_per_sample"] == flops_per_sample(network, (3, 32, 32))
    assert sum(layer["parameters"] for layer in facts["layers"]) == 11_173_962
    printed: dict[str, Any] = {}
    exec(facts["code"], printed)
    assert printed["count_convolutions"](network) == (17, 3)
    assert printed["last_linear_inputs"](network) == 512
    assert printed["count_trainable"](network) == 11_173_962
    F.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.arange(8)).backward()
    assert printed["count_gradients"](network) == (11_173_962, facts["nonzero_by_seed"]["0"])


@pytest.mark.slow
def test_seeds_move_the_count_of_zeros_not_the_optimizer(compose: Compose, capsys: Any) -> None:
    """Without normalisation many gradients are zero, all because a ReLU passes nothing."""
    cfg = compose("model=resnet18_no_norm", "optimizer=adam")
    facts = summarize(cfg)
    print_summary(facts)
    printed = " ".join(capsys.readouterr().out.split())
    by_seed = facts["nonzero_by_seed"]
    assert facts["gradients"] == 11_164_362
    zeros = sum(row["zeros"] for row in facts["zero_gradients"])
    assert zeros == 11_164_362 - by_seed["0"] > 0
    assert zeros == sum(row["without_product"] for row in facts["zero_gradients"])
    assert facts["nonzero_by_optimizer"] == {"SGD": by_seed["0"], "Adam": by_seed["0"]}
    assert f"not zero: {by_seed['0']:,} (seed 0), {by_seed['1']:,} (seed 1)" in printed
    zeros_by_seed = [11_164_362 - count for count in by_seed.values()]
    assert (max(zeros_by_seed) - min(zeros_by_seed)) * 3 / sum(zeros_by_seed) > 0.02
    assert "SGD and Adam give the same count with the same seed" in printed


@pytest.mark.parametrize(
    ("override", "times"),
    [("optimizer=sgd", 1), ("optimizer=adam", 2), ("optimizer.momentum=0", 0)],
)
def test_what_an_optimizer_keeps(compose: Compose, override: str, times: int) -> None:
    """Momentum is one number for each parameter, Adam's two means are two, plain SGD has none."""
    facts = summarize(compose("model=small", override))
    assert facts["optimizer"]["state_elements"] == times * 246_682
    assert facts["memory_bytes"]["optimizer_state"] == times * 246_682 * 4
    assert "first_steps_by_seed" not in facts  # which takes longer, and is to be asked for


def test_the_first_steps_are_those_of_the_optimizer(
    compose: Compose, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, norms, what convolutions are given, as by hand; normalising counts both ways."""
    # each operator takes a nanosecond
    clock = SimpleNamespace(perf_counter=count().__next__, perf_counter_ns=count().__next__)
    watches: list[Counter[str]] = []
    monkeypatch.setattr(first_steps, "time", clock)
    monkeypatch.setattr(first_steps.OperatorTimes, "__exit__", _keeping_times(watches))
    words = ("model=small", "data=synthetic", "optimizer.lr=0.5", "optimizer.momentum=0")
    words += ("optimizer.weight_decay=0", "+summary.seeds=1", "+summary.batch_size=4")
    facts = summarize(compose(*words, "+summary.first_steps=2"))
    (found,) = facts["first_steps_by_seed"].values()
    torch.manual_seed(0)
    network = small(10)
    labels = torch.randint(10, (4,))
    images = torch.randn(4, 3, 32, 32)
    for loss, norm in zip(found["losses"], found["gradient_norms"], strict=True):
        of_batch = F.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(of_batch, list(network.parameters()))
        squares = sum(float(gradient.square().sum()) for gradient in gradients)
        assert (loss, norm) == pytest.approx((of_batch.item(), squares**0.5), rel=1e-4)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.data -= 0.5 * gradient
    assert len(found["given"]) == facts["conv_layers"]
    assert found["given"][0] == pytest.approx(images.square().mean().sqrt().item(), rel=1e-4)
    norms = [layer["type"] for layer in facts["layers"]].count("BatchNorm2d")
    expected = [pytest.approx(2 * norms / ns.total()) for ns in watches]
    assert facts["time_of_normalising"]["shares"] == expected
    assert len(expected) >= first_steps.FEWEST_TIMED
    print_summary(facts)
    printed = " ".join(capsys.readouterr().out.split())
    assert f" first steps norm of the gradient: {found['gradient_norms'][0]:.3g} to " in printed
    assert re.search(r"normalising takes \d+% to \d+% of the time of a step's operators", printed)
    without = summarize(compose(*words, "model.norm=false", "+summary.first_steps=1"))
    assert without["time_of_normalising"] is None
    assert len(without["first_steps_by_seed"]["0"]["losses"]) == 1


def _keeping_times(watches: list[Counter[str]]) -> Any:
    """An `__exit__` that keeps what was timed."""
    leave = first_steps.OperatorTimes.__exit__

    def keep(times: first_steps.OperatorTimes, *error: Any) -> Any:
        watches.append(times.ns)
        return leave(times, *error)

    return keep


class ByHand(nn.Module):
    """192 → 4 → 10; the first hidden unit is never active, the other three always are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 10)
        self.relu_again = self.relu
        self.unused = nn.Parameter(torch.ones(5))
        self.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
        self.register_buffer("kept", torch.zeros(3))
        nn.init.uniform_(self.first.weight, 0, 0.001)
        self.first.bias.data = torch.tensor([-9.0, 1.0, 1.0, 1.0])

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu_again(self.relu(self.first(images.flatten(1))))
        logits: Tensor = self.last(hidden) + 0 * self.unused.sum()
        return logits


def test_a_network_counted_by_hand(compose: Compose) -> None:
    """Zeros and their reason, bytes kept for backward, FLOPs, state, calls of a shared layer."""
    cfg = compose("data=synthetic", "data.image_size=8", "data.batch_size=100")
    cfg.model = {"_target_": f"{__name__}.ByHand"}
    facts = summarize(cfg)
    trained = 192 * 4 + 4 + 4 * 10 + 10 + 5
    assert (facts["trainable_parameters"], facts["frozen_parameters"]) == (trained, 7)
    zeros = {row["parameter"]: row for row in facts["zero_gradients"]}
    # of the unit that passes no gradient, and of the one that gives no input
    by_reason = {"first.weight": 192, "first.bias": 1, "last.weight": 10}
    assert {name: row["zeros"] for name, row in zeros.items()} == by_reason | {"unused": 5}
    explained = {name: row["without_product"] for name, row in zeros.items()}
    assert explained == by_reason | {"unused": 0}
    # The first layer's input is the batch itself. Each call of the ReLU keeps 4 floats, once though
    # the layer behind keeps them too; the loss keeps the 10 logarithms of the softmax.
    assert facts["activation_bytes_per_sample"] == (4 + 4 + 10) * 4
    assert facts["input_bytes_per_sample"] == 192 * 4 + 8
    assert facts["memory_bytes"] == {
        "parameters": (trained + 7) * 4,
        "gradients": trained * 4,
        "optimizer_state": trained * 4,
        "buffers": 12,
        "activations": 100 * 72,
        "input": 100 * 776,
        "total": (3 * trained + 7) * 4 + 12 + 100 * (72 + 776),
    }
    # the images need no gradient: of the first layer only its weight's is computed
    forward = {"first": 2 * 192 * 4, "last": 2 * 4 * 10}
    assert facts["flops_per_sample"] == 2 * forward["first"] + 3 * forward["last"]
    layers = {layer["name"]: layer for layer in facts["layers"]}
    assert {name: layers[name]["flops"] for name in forward} == forward
    assert (layers["relu"]["calls"], layers["relu"]["shape"]) == (2, [4])
    assert sum(layer["parameters"] for layer in facts["layers"]) == trained + 7


class OwnAttention(nn.Module):
    """Computes besides its layers: depthwise, by a recurrent layer, and products of its own."""

    def __init__(self, is_known: bool = True) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3, groups=12))
        self.recurrent = nn.LSTM(16, 5, batch_first=True)
        self.head = nn.Linear(12 * 12, 10)
        self.is_known = is_known

    def forward(self, images: Tensor) -> Tensor:
        places, _ = self.recurrent(self.convolutions(images).flatten(2))
        scores = places @ places.mT
        if not self.is_known:
            scores = torch.linalg.matrix_exp(scores / 100)
        logits: Tensor = self.head(scores.flatten(1))
        return logits


def test_layers_add_up_to_the_forward_pass(compose: Compose) -> None:
    """What a network computes besides its layers is its own row's; by hand, all of it."""
    cfg = compose("data=synthetic", "data.image_size=8")
    cfg.model = {"_target_": f"{__name__}.OwnAttention"}
    facts = summarize(cfg)
    first, depthwise = 2 * 12 * 3 * 9 * 36, 2 * 12 * 9 * 16
    of_input, of_hidden = 2 * 12 * 20 * 16, 2 * 12 * 20 * 5
    forward = {
        "(itself)": 2 * 12 * 12 * 5,
        "convolutions.0": first,
        "convolutions.1": depthwise,
        "recurrent": of_input + of_hidden,
        "head": 2 * 144 * 10,
    }
    assert {layer["name"]: layer["flops"] for layer in facts["layers"]} == forward
    # the images need no gradient, nor what the recurrent layer holds before its first step
    total = 3 * sum(forward.values()) - first - of_hidden // 12
    assert facts["flops_per_sample"] == total
    assert facts["flops_per_sample"] == flops_per_sample(OwnAttention(), (3, 8, 8))


def test_operations_without_a_formula_are_named(compose: Compose, capsys: Any) -> None:
    """Rather than left out of a sum: neither the network nor that row has a figure."""
    cfg = compose("data=synthetic", "data.image_size=8")
    cfg.model = {"_target_": f"{__name__}.OwnAttention", "is_known": False}
    facts = summarize(cfg)
    assert facts["flops_per_sample"] is None
    flops = {layer["name"]: layer["flops"] for layer in facts["layers"]}
    assert (flops["(itself)"], flops["head"]) == (None, 2 * 144 * 10)
    (note,) = facts["notes"]
    assert note.startswith("FLOPs: not counted, since no formula is known for aten.linalg_matrix_e")
    print_summary(facts)
    assert "GFLOP a sample" not in capsys.readouterr().out


class OwnModule(L.LightningModule):
    def __init__(self, manual: bool = False, breaks: bool = False) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(2)
        self.automatic_optimization = not manual
        self.breaks = breaks

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.breaks:
            raise RuntimeError("no such luck")
        loss = F.cross_entropy(self.layer(batch["images"].flatten(1)), batch["labels"])
        self.log("loss", loss, on_epoch=True)
        self.log_dict({"step": float(self.trainer.global_step)})
        if not self.automatic_optimization:
            self.manual_backward(loss)
            self.optimizers().step()
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters())
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return [optimizer], [{"scheduler": plateau, "monitor": "val/loss"}]


class OwnData(L.LightningDataModule):
    def train_dataloader(self) -> Any:
        images, labels = torch.randn(12, 3, 8, 8), torch.zeros(12, dtype=torch.long)
        samples = [{"images": a, "labels": b} for a, b in zip(images, labels, strict=True)]
        return torch.utils.data.DataLoader(samples, batch_size=12)


def own(compose: Compose, **settings: Any) -> dict[str, Any]:
    cfg = compose()
    cfg.data = {"_target_": f"{__name__}.OwnData"}
    with open_dict(cfg):
        cfg.model = {"_target_": f"{__name__}.OwnModule", **settings}
    return summarize(cfg)


def test_a_module_and_data_of_ones_own(compose: Compose) -> None:
    """Its training_step runs as it is, on a batch not of our form; a note says where it cannot."""
    facts = own(compose)
    assert facts["trainable_parameters"] == facts["gradients"] == 192 * 2 + 2
    assert facts["optimizer"]["name"] == "Adam"
    assert facts["optimizer"]["state_elements"] == 2 * 386
    assert (facts["activation_bytes_per_sample"], facts["memory_batch_size"]) == (2 * 4, 12)
    assert (facts["linear_in_features"], facts["notes"]) == (192, [])
    by_hand, broken = own(compose, manual=True), own(compose, breaks=True)
    assert by_hand["gradients"] is by_hand["flops_per_sample"] is broken["gradients"] is None
    assert by_hand["trainable_parameters"] == 386
    assert "optimizes by hand" in by_hand["notes"][0]
    assert "a training step failed: RuntimeError: no such luck" in broken["notes"][0]


def as_lists(samples: list[Any]) -> tuple[list[Tensor], list[Tensor]]:
    return [each["images"] for each in samples], [each["labels"] for each in samples]


class OfLists(OwnModule):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = map(torch.stack, batch)
        return super().training_step({"images": images, "labels": labels}, batch_idx)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_sample_is_one_of_the_loaders(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """In lists of images too, whose first dimension is their channels; else no figure is given."""
    loader = OwnData().train_dataloader()
    loader.collate_fn = as_lists
    made = loader if is_known else [as_lists(list(loader.dataset))]
    monkeypatch.setattr(OwnData, "train_dataloader", lambda data: made)
    monkeypatch.setattr(f"{__name__}.OwnModule", OfLists)
    facts = own(compose)
    flops = facts["flops_per_sample"]
    assert facts["gradients"] == 386
    if is_known:
        assert (flops, facts["batch"]) == (2 * 2 * 192 * 2, "12 samples: the data module's first")
        assert facts["input_bytes_per_sample"] == 4 * 192 + 8
    else:
        assert flops is facts["input_bytes_per_sample"] is None
        assert "FLOPs, bytes: nothing tells how many samples a batch has" in facts["notes"]
        assert {layer["flops"] for layer in facts["layers"]} == {None}


def test_random_numbers_of_the_caller_go_on_as_before(compose: Compose) -> None:
    """A report can count a model without another seed for what comes after it."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    summarize(compose("model=small"))
    assert torch.equal(torch.rand(1), expected)


def test_images_that_are_there_say_their_shape(compose: Compose, image_folder: Path) -> None:
    """Where none are, it is assumed, and said; a class derived from ours is asked itself."""
    there = summarize(compose("data=image_folder", f"data.root={image_folder}", "model=small"))
    assert "images of 3×8×8, random labels of 2 classes" in there["batch"]
    assert there["notes"] == []
    override = ("data=image_folder", "data.root=nowhere", "model=small", "model.num_classes=7")
    absent = summarize(compose(*override))
    assert "images of 3×32×32, random labels of 7 classes" in absent["batch"]
    assert absent["notes"][0].startswith("assumed, since nowhere/train is not there: 32×32 pixels")
    cfg = compose("data=synthetic", "model=small", "data.batch_size=8", "data.train_samples=8")
    cfg.data._target_ = f"{__name__}.OfTwoClasses"
    assert summarize(cfg)["batch"].endswith("random labels of 2 classes")


LOUD = """import logging
from hpml.models.networks import small
def network(num_classes):
    print("printed"); logging.getLogger("hpml").error("logged")
    logging.getLogger("mine").warning("told")
    return small(num_classes)
"""


def test_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    """Whatever prints besides goes to stderr; no file is left."""
    (tmp_path / "loud.py").write_text(LOUD)
    words = ["model=small", "model._target_=loud.network", "~model.width", "~model.norm", "seed=5"]
    done = run_program(["-m", "hpml.summary", "--json", *words, "summary.seeds=2"], tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["name"] == "small"
    assert list(facts["nonzero_by_seed"]) == ["5", "6"]
    assert all(word in done.stderr for word in ("printed", "logged", "told"))
    assert {path.name for path in tmp_path.iterdir()} <= {"loud.py", "__pycache__"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary.seeds=0"], "summary.seeds=0: give an integer of at least 1"),
        (["summary.batch_size=2"], "summary.batch_size=2: give an integer of at least 4"),
        (["summary.seed=1"], "summary.seed: there is no such key; did you mean summary.seeds?"),
        (["model=nope"], "model=nope: there is no such option; give one of resnet18, "),
        (["-m", "model=small,resnet18"], "-m: this program does not sweep; leave it out"),
        (["model._target_=nowhere.network"], "model._target_=nowhere.network: cannot"),
        (["--json", "model.num_classes=1"], "model.num_classes=1: give an integer of at least 2"),
    ],
)
def test_refused(words: Any, message: str, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """The key, the value and what to do, on stderr, with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["summary", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capfd.readouterr()
    assert ended.value.code == 2
    assert re.fullmatch(f"error: {re.escape(message)}.*\n", printed.err)
    assert printed.out == ""


class OfTwoClasses(Synthetic):
    def load(self) -> ImageSet:
        return replace(super().load(), classes=("a", "b"))


def test_the_callers_random_numbers_stay_where_a_step_fails(compose: Compose) -> None:
    """A notebook that catches the error draws what it would have drawn."""
    cfg = compose("model=small", "data=synthetic", "data.batch_size=8", "data.train_samples=8")
    steps = DrawnSteps(cfg, build_data(cfg))
    before = torch.get_rng_state()

    def fails(_: Any) -> Any:
        raise RuntimeError("no optimizer")

    with pytest.raises(RuntimeError, match="no optimizer"):
        steps.step(seed=1, samples=2, optimizer=fails)
    assert torch.equal(torch.get_rng_state(), before)
