"""Figures that others have published for the same lab, beside this lab's, and what was wrong."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hpml.formatting import decimals, range_in_words
from hpml.lab.parts import OPTIMIZERS
from hpml.lab.report.machine import Machine
from hpml.report.collect import Run
from hpml.report.tables import NOTHING, Cell, Table

# Behind the name of an optimizer, or of the network without norm, each makes a row's key.
OF_TRAINING = {"epoch_s": "epoch s", "loss": "loss", "accuracy": "accuracy"}
ROWS = {
    "best_workers": "best number of workers",
    "epoch_cpu_s": "epoch on the CPU, s",
    "epoch_gpu_s": "epoch on a GPU, s",
    "data_s": "waiting for data in an epoch, s",
    **{
        f"{name}_{figure}": f"{'without norm' if name == 'no_norm' else name}: {title}"
        for name in (*OPTIMIZERS, "no_norm")
        for figure, title in OF_TRAINING.items()
    },
    "conv_layers": "convolutions",
    "linear_inputs": "inputs of the last linear layer",
    "parameters": "parameters",
    "parameters_no_norm": "parameters without norm",
    "gradients_sgd": "gradients that are not zero, SGD",
    "gradients_adam": "gradients that are not zero, Adam",
}


def published_table(own: Mapping[str, str]) -> Table:
    """This lab beside the two submissions; `own` has a text for each key of ROWS it knows."""
    assert own.keys() <= ROWS.keys(), f"no row of {own.keys() - ROWS.keys()}"
    published = _read()
    wrong = {key: published["wrong"].get(key, "") for key in ROWS}
    columns = (own, dict(_of_a(published["A"])), dict(_of_b(published["B"])), wrong)
    rows = [
        [Cell(title, place), *(_cell(column.get(key)) for column in columns)]
        for place, (key, title) in enumerate(ROWS.items())
    ]
    headings = ["figure", "this run", "submission A", "submission B", "what was wrong"]
    return Table(headings, rows, len(headings))


def published_caption() -> str:
    """Where the published figures are from, and on what they were measured."""
    published = _read()
    machines = (f"{name}: {machine}" for name, machine in published["hardware"].items())
    means = "The seconds of A's epochs are means over all five; loss and accuracy are the fifth's"
    return ". ".join([published["source"].rstrip("."), *machines, means]) + "."


def own_figures(machines: Sequence[Machine]) -> dict[str, str]:
    """This lab's texts by the keys of ROWS; of several machines those with a GPU go first."""
    own: dict[str, str] = {}
    for machine in sorted(machines, key=lambda one: one.environment.get("device") == "cpu"):
        own = dict(_of_machine(machine)) | own
    return own


def against_published(facts: Mapping[str, Any]) -> list[str]:
    """Whether B's counts with SGD and Adam differ by more than these seeds do, for B's network.

    Relative to the zeros, of which a larger batch has fewer. No sentence of another network, or of
    one seed.
    """
    b, by_seed = _read()["B"], facts.get("nonzero_by_seed") or {}
    is_theirs = facts["trainable_parameters"] == b["q3_trainable_parameters_without_norm"]
    if not is_theirs or len(by_seed) < 2 or None in (*by_seed.values(), facts.get("gradients")):
        return []
    published = [b["q3_nonzero_gradients_sgd"], b["q4_nonzero_gradients_adam"]]
    theirs, ours = (
        _spread([facts["gradients"] - count for count in counts])
        for counts in (published, by_seed.values())
    )
    outcome = "chance, not the optimizer" if theirs < ours else "give more summary.seeds"
    return [
        f"Submission B has {published[0]:,} that are not zero with SGD, {published[1]:,} with "
        f"Adam: its zeros differ by {theirs:.1%}, those of these seeds by {ours:.1%}: {outcome}."
    ]


def _spread(zeros: Sequence[int]) -> float:
    """By how much numbers of zeros differ at most, as a fraction of their mean."""
    return (max(zeros) - min(zeros)) / fmean(zeros) if sum(zeros) else 0.0


def _read() -> dict[str, Any]:
    file = Path(__file__).with_name("published.json")
    published: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return published


def _of_a(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    epoch_s, data_s = figures["c5_epoch_s"], figures["c5_data_s_per_epoch"]
    yield "best_workers", str(figures["c3_best_workers"])
    yield from (("epoch_cpu_s", _mean(epoch_s["cpu"])), ("epoch_gpu_s", _mean(epoch_s["gpu"])))
    yield "data_s", f"{data_s['gpu']} (GPU), {data_s['cpu']} (CPU)"
    yield from ((f"{name}_epoch_s", _mean(times)) for name, times in figures["c6_epoch_s"].items())
    yield "no_norm_epoch_s", _mean(figures["c7_epoch_s_without_norm"])


def _of_b(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    best, epoch_s = figures["c3_best_workers"], figures["c5_epoch_s"]
    yield "best_workers", str(best)
    yield from (("epoch_cpu_s", _mean([epoch_s["cpu"]])), ("epoch_gpu_s", _mean([epoch_s["gpu"]])))
    yield "data_s", f"{figures['c3_data_loading_s_by_workers'][str(best)]} ({best} workers)"
    for name, run in (*figures["c6"].items(), ("no_norm", figures["c7_without_norm"])):
        if "epoch_s" in run:
            yield f"{name}_epoch_s", _mean([run["epoch_s"]])
        yield f"{name}_loss", f"{run['loss'][-1]:.4f}"
        yield f"{name}_accuracy", f"{run['accuracy'][-1]:.2%}"
    yield "conv_layers", f"{figures['q1_conv_layers']}"
    yield "linear_inputs", f"{figures['q2_last_linear_in_features']}"
    yield "parameters_no_norm", f"{figures['q3_trainable_parameters_without_norm']:,}"
    yield "gradients_sgd", f"{figures['q3_nonzero_gradients_sgd']:,}"
    yield "gradients_adam", f"{figures['q4_nonzero_gradients_adam']:,}"


def _of_machine(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.workers is not None:
        yield "best_workers", str(machine.workers["recommended"])
    runs = [*machine.sgd, *machine.other_devices]
    for row, is_cpu in (("epoch_cpu_s", True), ("epoch_gpu_s", False)):
        of = [run for run in runs if (run.record.environment.get("device") == "cpu") == is_cpu]
        yield from _mean_of(of, "epoch_s", row)
    yield from _mean_of(machine.sgd, "data_s", "data_s")
    for name in OPTIMIZERS:
        yield from _of_training(name, machine.with_optimizer(name))
    yield from _of_training("no_norm", machine.no_norm)
    if facts := machine.summary("sgd"):
        yield "conv_layers", str(facts["conv_layers"])
        yield "linear_inputs", str(facts["linear_in_features"] or "none")
        yield "parameters", f"{facts['trainable_parameters']:,}"
    for name in ("sgd", "adam"):
        if facts := machine.summary(f"no_norm_{name}"):
            yield "parameters_no_norm", f"{facts['trainable_parameters']:,}"
            if counts := list((facts.get("nonzero_by_seed") or {}).values()):
                yield f"gradients_{name}", range_in_words(counts)


def _of_training(name: str, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    yield from _mean_of(runs, "epoch_s", f"{name}_epoch_s")
    for figure, spec in (("loss", ".4f"), ("accuracy", ".2%")):
        values = [run.record.last_metric(f"train/{figure}") for run in runs if run.completed]
        if measured := [value for value in values if value is not None]:
            yield f"{name}_{figure}", f"{fmean(measured):{spec}}"


def _mean_of(runs: Iterable[Run], measure: str, row: str) -> Iterator[tuple[str, str]]:
    values = (run.measures[measure] for run in runs if run.completed)
    if measured := [value for value in values if value is not None]:
        yield row, _mean(measured)


def _mean(seconds: Sequence[float]) -> str:
    mean_s = fmean(seconds)
    return f"{mean_s:.{decimals(mean_s)}f}"


def _cell(text: str | None) -> Cell:
    return Cell(NOTHING) if text is None else Cell(text, text)
