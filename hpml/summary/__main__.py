"""`python -m hpml.summary [overrides] [--json]`: what the model is made of, and what it needs."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hpml.cli.program import run_hydra
from hpml.config.auto import on_device
from hpml.config.checks import check
from hpml.config.choices import name_of
from hpml.config.conf import find_conf, resolve
from hpml.data.build import build_data
from hpml.errors import UserError, first_line
from hpml.formatting import console, size_in_words
from hpml.training.build import quiet_lightning

if TYPE_CHECKING:
    import lightning as L
    from rich.table import Table

# Of images that are not there.
ASSUMED_SIZE, ASSUMED_CLASSES = 32, 10
IMPORTS = "import re\n\nfrom torch import nn\nfrom torch.nn.parameter import is_lazy\n\n\n"
MOST_NAMED = 3


def main() -> None:
    """The program `python -m hpml.summary`."""
    words = sys.argv[1:]
    sys.argv[1:] = [word for word in words if word != "--json"]
    if as_json := "--json" in words:
        sys.argv.append("hydra.job_logging.handlers.console.stream=ext://sys.stderr")
    run_hydra(print_json if as_json else show, config_name="summary", sweeps=False)


def print_json(cfg: DictConfig) -> None:
    """Prints one JSON object on stdout; whatever else is said goes to stderr."""
    with redirect_stdout(sys.stderr):
        facts = summarize(cfg)
    try:
        print(json.dumps(facts, indent=2), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def summarize(cfg: DictConfig) -> dict[str, Any]:
    """What is counted of the model of `cfg`: the keys of the record's `model`, and more.

    Numbers are of elements, of bytes (`…_bytes…`) or of floating-point operations (`…flops…`);
    those of `layers` and of `…_per_sample` are one sample's. What could not be counted is null
    or missing, and `notes` say why. Our own data need not be there. Raises UserError.
    """
    check(cfg)
    from torch.nn.parameter import is_lazy

    from hpml.models import counts
    from hpml.summary.step_watch import Drawing, facts_of

    quiet_lightning()
    notes = (
        [f"compile={'true' if cfg.compile is True else cfg.compile} has no effect here"]
        if cfg.compile
        else []
    )
    if cfg.trainer.get("precision") not in (None, 32, "32", "32-true"):
        notes.append(f"trainer.precision={cfg.trainer.precision} has no effect here")
    summary = cfg.get("summary") or OmegaConf.load(find_conf() / "summary.yaml").summary
    cfg, _ = on_device(OmegaConf.create(resolve(cfg) | {"device": "cpu", "compile": False}))
    data, batch = _data(cfg, notes)
    drawing = Drawing(cfg, data)
    size, seeds = summary.batch_size, range(cfg.seed, cfg.seed + summary.seeds)
    module, facts = drawing.module, dict[str, Any]()
    try:
        half = drawing.step(cfg.seed, size // 2)
        steps = [drawing.step(seed, size) for seed in seeds]
        module = steps[0].module or module  # whose lazy layers are made
        facts = facts_of(steps[0], half, cfg.data.get("batch_size") or drawing.real_size)
        facts["batch"] = f"{steps[0].samples} samples: {batch}"
        facts["nonzero_by_seed"] = {
            str(seed): step.nonzero for seed, step in zip(seeds, steps, strict=True)
        }
        facts["nonzero_by_optimizer"] = drawing.nonzero_by_optimizer(cfg.seed, size)
        if facts["gradients"] is None:
            notes.append(
                "gradients, FLOPs, memory: not counted where a module optimizes by hand "
                "(automatic_optimization=False) or gives no loss"
            )
        elif facts["memory_bytes"] is None:
            notes.append("memory: not counted, since the batch cannot be cut in two")
    except UserError:
        raise
    except Exception as error:
        failure = f"{type(error).__name__}: {first_line(error)}"
        notes.append(f"gradients, FLOPs, memory: not counted, a training step failed: {failure}")
    main_path, shortcuts = counts.count_convolutions(module)
    described = counts.describe(module, name_of(cfg.model))
    made = [parameter for parameter in module.parameters() if not is_lazy(parameter)]
    counting = (
        counts.count_convolutions,
        counts.last_linear_inputs,
        counts.count_trainable,
        counts.count_gradients,
    )
    return {
        **described,
        "conv_layers_main_path": main_path,
        "conv_layers_shortcuts": shortcuts,
        "frozen_parameters": sum(p.numel() for p in made if not p.requires_grad),
        **facts,
        "code": IMPORTS + "\n\n".join(inspect.getsource(function) for function in counting),
        "notes": notes,
    }


def _data(cfg: DictConfig, notes: list[str]) -> tuple[L.LightningDataModule, str]:
    """The data module, or the shape of our own data in its stead; and what a batch holds."""
    from hpml.data import ImageDataModule
    from hpml.summary.step_watch import Shape

    target, size = cfg.data.get("_target_"), cfg.data.get("image_size")
    there = Path(str(cfg.data.get("root"))).expanduser() / "train"
    data: L.LightningDataModule
    if target in ("hpml.data.Cifar10", "hpml.data.Synthetic"):
        data = Shape(size or ASSUMED_SIZE, ASSUMED_CLASSES)
    elif target == "hpml.data.ImageFolder" and not there.is_dir():
        classes = cfg.model.get("num_classes")
        data = Shape(size or ASSUMED_SIZE, classes or ASSUMED_CLASSES)
        assumed = [] if size else [f"{ASSUMED_SIZE}×{ASSUMED_SIZE} pixels (data.image_size)"]
        assumed += [] if classes else [f"{ASSUMED_CLASSES} classes (model.num_classes)"]
        if assumed:
            notes.append(f"assumed, since {there} is not there: {' and '.join(assumed)}")
    elif target == "hpml.data.ImageFolder":
        quick = {"verify": False, "in_memory": False, "batch_size": 1}
        data = build_data(OmegaConf.create({"data": {**cfg.data, **quick}}))
    else:
        data = build_data(cfg)
    if not isinstance(data, ImageDataModule):
        return data, "the data module's first"
    shape = "×".join(map(str, data.image_shape))
    return data, f"random normal images of {shape}, random labels of {data.num_classes} classes"


def show(cfg: DictConfig) -> None:
    """Prints the layers, the counting code, and what was counted."""
    from rich.text import Text

    facts = summarize(cfg)
    page = console()
    if facts.get("layers"):
        page.print(_layers(facts))
    page.print(Text(f"How it is counted:\n\n{facts['code']}"))
    page.print(_table(facts))
    for note in facts["notes"]:
        page.print(Text(f"note: {note}"))


def _layers(facts: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    caption = "of one sample: the output, and the FLOPs of the forward pass"
    table = Table(box=box.SIMPLE, padding=(0, 1), pad_edge=False, caption=caption)
    table.add_column("layer", overflow="fold")
    table.add_column("type")
    for heading in ("calls", "output", "parameters", "MFLOP"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in facts["layers"]:
        table.add_row(
            Text(layer["name"]),
            Text(layer["type"]),
            str(layer["calls"]),
            _shape(layer["shape"]),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['flops'] / 1e6:,.3f}" if layer["flops"] else "",
        )
    return table


def _table(facts: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for label, text in _lines(facts):
        table.add_row(Text(label, no_wrap=True), Text(text))
    return table


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was counted: a label, and a sentence."""
    yield "model", facts["name"]
    main_path, shortcuts = facts["conv_layers_main_path"], facts["conv_layers_shortcuts"]
    yield (
        "convolutions",
        f"{facts['conv_layers']}: {main_path} on the main path, {shortcuts} on shortcuts",
    )
    features = facts["linear_in_features"]
    yield "last linear layer", "none" if features is None else f"{features:,} input features"
    frozen = facts["frozen_parameters"]
    kept = f"; {frozen:,} more are not trained" if frozen else ""
    yield "trainable parameters", f"{facts['trainable_parameters']:,}{kept}"
    if facts["gradients"] is not None:
        yield "gradients", f"{facts['gradients']:,} elements after one backward pass"
        yield from (("", sentence) for sentence in _about_gradients(facts))
    if optimizer := facts.get("optimizer"):
        elements, times = optimizer["state_elements"], ""
        if facts["trainable_parameters"]:
            times = f", {elements / facts['trainable_parameters']:.3g} for each parameter trained"
        size = size_in_words(optimizer["state_bytes"])
        yield (
            "optimizer state",
            f"{optimizer['name']}: {elements:,} elements after one step{times} ({size})",
        )
    if flops := facts["flops_per_sample"]:
        yield "FLOPs", f"{flops / 1e9:.4g} GFLOP a sample, forward and backward"
    if memory := facts.get("memory_bytes"):
        saved = size_in_words(facts["activation_bytes_per_sample"])
        given = size_in_words(facts["input_bytes_per_sample"])
        yield "bytes", f"a sample: {given} of input with its label, {saved} kept for backward"
        parts = [f"{name.replace('_', ' ')} {size_in_words(n)}" for name, n in memory.items()]
        yield (
            "memory",
            f"about {size_in_words(memory['total'])} for batches of {facts['memory_batch_size']}, "
            f"an estimate: {' + '.join(parts[:-1])}; what kernels and allocator need comes on top",
        )


def _about_gradients(facts: dict[str, Any]) -> Iterator[str]:
    """How many are zero, where and why; what the seed and the optimizer have to do with it."""
    by_seed = facts["nonzero_by_seed"]
    first = next(iter(by_seed))
    yield f"of {facts['batch']}"
    yield "not zero: " + ", ".join(f"{count:,} (seed {seed})" for seed, count in by_seed.items())
    if zeros := sorted(facts["zero_gradients"], key=lambda row: -row["zeros"]):
        named = ", ".join(f"{row['parameter']} {row['zeros']:,}" for row in zeros[:MOST_NAMED])
        yield f"zero (seed {first}): {sum(row['zeros'] for row in zeros):,}, most in {named}"
        has_relu = any(layer["type"] == "ReLU" for layer in facts["layers"])
        yield (
            f"{sum(row['without_product'] for row in zeros):,} of these because in every sample "
            "and place the input of the weight or the gradient behind it is zero"
            + (": a ReLU passes neither" if has_relu else "")
        )
    by_optimizer = facts["nonzero_by_optimizer"]
    if not by_optimizer:
        return
    if len(set(by_optimizer.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in by_optimizer.items())
        yield f"with the same seed {told}: this network's gradients are not reproducible"
        return
    yield (
        f"{' and '.join(by_optimizer)} give the same count with the same seed: gradients are "
        "computed before the optimizer acts"
    )
    from hpml.lab.report.published import published_gradients

    parameters, published = published_gradients()
    if facts["trainable_parameters"] == parameters and len(by_seed) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in published.items())
        # relative to the zeros, of which a larger batch has fewer
        theirs, ours = (_spread(counts, facts["gradients"]) for counts in (published, by_seed))
        yield (
            f"a published solution has {told}: its zeros differ by {theirs:.1%}, those of these "
            f"seeds by {ours:.1%}: "
            + ("chance, not the optimizer" if theirs < ours else "give more summary.seeds")
        )


def _spread(nonzero: dict[str, int], elements: int) -> float:
    """By how much the numbers of zeros differ at most, as a fraction of their mean."""
    zeros = [elements - count for count in nonzero.values()]
    return (max(zeros) - min(zeros)) * len(zeros) / sum(zeros) if sum(zeros) else 0.0


def _shape(shape: list[int] | None) -> str:
    if shape is None:
        return ""
    return "×".join(map(str, shape)) or "1"


if __name__ == "__main__":
    main()
