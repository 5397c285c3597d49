"""What was counted of a model, as tables and sentences for a terminal."""

from collections.abc import Iterator
from statistics import quantiles
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from hpml.formatting import console, size_in_words

MOST_NAMED = 3


def print_summary(facts: dict[str, Any]) -> None:
    page = console()
    if facts.get("layers"):
        page.print(_layers(facts))
    page.print(Text(f"How it is counted:\n\n{facts['code']}"))
    counted = Table.grid(padding=(0, 2))
    for label, text in _lines(facts):
        counted.add_row(Text(label, no_wrap=True), Text(text))
    page.print(counted)
    for note in facts["notes"]:
        page.print(Text(f"note: {note}"))


def _layers(facts: dict[str, Any]) -> Table:
    caption = "of one sample: the output, and the FLOPs of the forward pass"
    table = Table(box=box.SIMPLE, padding=(0, 1), pad_edge=False, caption=caption)
    table.add_column("layer", overflow="fold")
    table.add_column("type")
    for heading in ("calls", "output", "parameters", "MFLOP"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in facts["layers"]:
        shape = layer["shape"]
        table.add_row(
            Text(layer["name"]),
            Text(layer["type"]),
            str(layer["calls"]),
            "" if shape is None else "×".join(map(str, shape)) or "1",
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['flops'] / 1e6:,.3f}" if layer["flops"] else "",
        )
    return table


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", facts["name"]
    by_place = "{conv_layers_main_path} on the main path, {conv_layers_shortcuts} on shortcuts"
    yield "convolutions", f"{facts['conv_layers']}: {by_place.format(**facts)}"
    features = facts["linear_in_features"]
    yield "last linear layer", "none" if features is None else f"{features:,} input features"
    frozen = facts["frozen_parameters"]
    kept = f"; {frozen:,} more are not trained" if frozen else ""
    yield "trainable parameters", f"{facts['trainable_parameters']:,}{kept}"
    if facts["gradients"] is not None:
        yield "gradients", f"{facts['gradients']:,} elements after one backward pass"
        yield from (("", sentence) for sentence in _about_gradients(facts))
    if optimizer := facts.get("optimizer"):
        elements, trained = optimizer["state_elements"], facts["trainable_parameters"]
        times = f", {elements / trained:.3g} for each parameter trained" if trained else ""
        size = size_in_words(optimizer["state_bytes"])
        state = f"{optimizer['name']}: {elements:,} elements after one step{times} ({size})"
        yield "optimizer state", state
    for number, sentence in enumerate(_about_first_steps(facts)):
        yield "" if number else "first steps", sentence
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


def _about_first_steps(facts: dict[str, Any]) -> Iterator[str]:
    if by_seed := facts.get("first_steps_by_seed"):
        norms = [of["gradient_norms"][0] for of in by_seed.values()]
        yield f"norm of the gradient: {min(norms):.3g} to {max(norms):.3g} (over the seeds)"
        seed, first = next(iter(by_seed.items()))
        losses = ", ".join(f"{loss:.4g}" for loss in first["losses"])
        yield f"loss of that batch in the first steps: {losses} (seed {seed})"
    if of_norm := facts.get("time_of_normalising"):
        low, _, high = quantiles(of_norm["shares"], n=4, method="inclusive")  # others disturb some
        share = f"{low:.0%} to {high:.0%} of the time of a step's operators"
        yield f"normalising takes {share}, on this CPU with {of_norm['samples']} samples"


def _about_gradients(facts: dict[str, Any]) -> Iterator[str]:
    """How many are zero, where and why; what the seed and the optimizer have to do with it."""
    by_seed, by_optimizer = facts["nonzero_by_seed"], facts["nonzero_by_optimizer"]
    yield f"of {facts['batch']}"
    yield "not zero: " + ", ".join(f"{count:,} (seed {seed})" for seed, count in by_seed.items())
    if zeros := sorted(facts["zero_gradients"], key=lambda row: -row["zeros"]):
        named = ", ".join(f"{row['parameter']} {row['zeros']:,}" for row in zeros[:MOST_NAMED])
        total, first = sum(row["zeros"] for row in zeros), next(iter(by_seed))
        yield f"zero (seed {first}): {total:,}, most in {named}"
        has_relu = any(layer["type"] == "ReLU" for layer in facts["layers"])
        yield (
            f"{sum(row['without_product'] for row in zeros):,} of these because in every sample "
            "and place the input of the weight or the gradient behind it is zero"
            + (": a ReLU passes neither" if has_relu else "")
        )
    if len(set(by_optimizer.values())) > 1:
        counts = ", ".join(f"{name} {count:,}" for name, count in by_optimizer.items())
        yield f"with the same seed {counts}: this network's gradients are not reproducible"
    elif by_optimizer:
        yield (
            f"{' and '.join(by_optimizer)} give the same count with the same seed: gradients are "
            "computed before the optimizer acts"
        )
