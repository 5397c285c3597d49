"""Figures that others have published for the same lab, beside this lab's, and what was wrong."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hpml.formatting import decimals, range_in_words
from hpml.lab.parts import OPTIMIZERS, SUMMARIES
from hpml.lab.report.machine import Machine
from hpml.lab.report.other_than_asked import EPOCHS, has_whole_epochs, is_as_asked
from hpml.lab.unanswered import disturbed_by
from hpml.report.collect import Run
from hpml.report.ranking import NOTHING
from hpml.report.settings import Setting
from hpml.report.tables import Cell, Table
from hpml.report.times_in_doubt import is_disturbed
from hpml.statistics import estimate

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


def published_table(own: Mapping[str, Any]) -> Table:
    """This lab beside the two submissions; `own` has a figure for each key of ROWS it knows."""
    assert own.keys() <= ROWS.keys(), f"no row of {own.keys() - ROWS.keys()}"
    published = _read()
    wrong = dict.fromkeys(ROWS, "") | published["wrong"]
    columns = (own, published["A"]["rows"], published["B"]["rows"], wrong)
    rows = [
        [Cell(title, place), *(_cell(key, column.get(key)) for column in columns)]
        for place, (key, title) in enumerate(ROWS.items())
    ]
    headings = ["figure", "this run", "submission A", "submission B", "what was wrong"]
    return Table(headings, rows, len(headings))


def published_caption() -> str:
    """Where the published figures are from, and on what they were measured."""
    published = _read()
    machines = (f"{name}: {machine}" for name, machine in published["hardware"].items())
    quiet = "Of this run, times that others disturbed are left out"
    means = "The seconds of A's epochs are means over all five; loss and accuracy are the fifth's"
    return ". ".join([published["source"].rstrip("."), *machines, quiet, means]) + "."


def about_published(machines: Sequence[Machine]) -> list[str]:
    """Whether anything here is like theirs, and what the counts of theirs tell."""
    summaries = [of for m in machines for name in SUMMARIES if (of := m.summary(name))]
    sentences = [line for facts in summaries for line in against_published(facts)]
    if not own_figures(machines):
        sentences.insert(0, "Nothing here is like theirs: ResNet-18 on CIFAR-10, in whole epochs.")
    return list(dict.fromkeys(sentences))


def own_figures(machines: Sequence[Machine]) -> dict[str, Any]:
    """This lab's figures that are of what the submissions measured, by the keys of ROWS.

    Counts are of their network, times of it on their data in whole epochs, loss and accuracy of
    five of these. Of several machines those with a GPU go first.
    """
    own: dict[str, Any] = {}
    for machine in sorted(machines, key=lambda one: one.environment.get("device") == "cpu"):
        own = {key: figure for key, figure in _of_machine(machine) if figure} | own
    return own


def against_published(facts: Mapping[str, Any]) -> list[str]:
    """Whether B's counts with SGD and Adam differ by more than several seeds, for B's network.

    Relative to the zeros, of which a larger batch has fewer.
    """
    b, counts = _read()["B"]["rows"], nonzero(facts)
    is_theirs = facts["trainable_parameters"] == b["parameters_no_norm"]
    if not is_theirs or len(counts) < 2 or None in (*counts, facts.get("gradients")):
        return []
    published = [b["gradients_sgd"], b["gradients_adam"]]
    theirs, ours = (
        _spread([facts["gradients"] - count for count in of_one]) for of_one in (published, counts)
    )
    outcome = "chance, not the optimizer" if theirs < ours else "give more summary.seeds"
    return [
        f"Submission B has {published[0]:,} that are not zero with SGD, {published[1]:,} with "
        f"Adam: its zeros differ by {theirs:.1%}, those of these seeds by {ours:.1%}: {outcome}."
    ]


def nonzero(facts: Mapping[str, Any]) -> list[int]:
    """How many gradients are not zero, for each seed that was tried."""
    return list((facts.get("nonzero_by_seed") or {}).values())


def _spread(zeros: Sequence[int]) -> float:
    return (max(zeros) - min(zeros)) / fmean(zeros) if sum(zeros) else 0.0


def _read() -> Any:
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def _of_machine(machine: Machine) -> Iterator[tuple[str, Any]]:
    if is_as_asked(machine, "model"):
        yield from _counts(machine)
    if is_as_asked(machine) and has_whole_epochs(machine):
        yield from _times(machine)


def _times(machine: Machine) -> Iterator[tuple[str, Any]]:
    if machine.workers is not None and not disturbed_by(machine.workers):
        yield "best_workers", str(machine.workers["recommended"])
    runs = [*machine.sgd, *machine.other_devices]
    for row, is_cpu in (("epoch_cpu_s", True), ("epoch_gpu_s", False)):
        of = [run for run in runs if (run.record.environment.get("device") == "cpu") == is_cpu]
        yield row, Setting({}, _quiet(of)).all_of("epoch_s")
    yield "data_s", Setting({}, _quiet(machine.sgd)).all_of("data_s")
    by_name = {name: machine.with_optimizer(name) for name in OPTIMIZERS}
    for name, runs in (by_name | {"no_norm": machine.no_norm}).items():
        setting = Setting({}, runs)
        yield f"{name}_epoch_s", Setting({}, _quiet(runs)).all_of("epoch_s")
        whole = all(len(run.epochs) == EPOCHS for run in setting.completed)
        for figure in ("loss", "accuracy") if whole else ():
            last = estimate(setting.all_of(f"train/{figure}"))
            yield f"{name}_{figure}", last and [last.mean]


def _counts(machine: Machine) -> Iterator[tuple[str, Any]]:
    if facts := machine.summary("sgd"):
        yield "conv_layers", str(facts["conv_layers"])
        yield "linear_inputs", str(facts["linear_in_features"] or "none")
        yield "parameters", facts["trainable_parameters"]
    for name in ("sgd", "adam"):
        if facts := machine.summary(f"no_norm_{name}"):
            yield "parameters_no_norm", facts["trainable_parameters"]
            counts = nonzero(facts)
            yield f"gradients_{name}", counts and range_in_words(counts)


def _quiet(runs: Sequence[Run]) -> list[Run]:
    """Those whose times others did not disturb."""
    return [run for run in runs if not is_disturbed(run)]


def _cell(key: str, figure: Any) -> Cell:
    """A text, a count, the mean of seconds, or the last epoch's loss or accuracy."""
    if figure is None:
        return Cell(NOTHING)
    if isinstance(figure, int):
        text = f"{figure:,}"
    elif key.endswith("_s") and not isinstance(figure, str):
        text = f"{fmean(figure):.{decimals(fmean(figure))}f}"
    elif isinstance(figure, list):
        text = f"{figure[-1]:{'.4f' if key.endswith('_loss') else '.2%'}}"
    else:
        text = figure
    return Cell(text, text)
