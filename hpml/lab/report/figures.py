"""The results of each part of the lab on one machine: tables, pictures, and its answer."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpml.formatting import capital, counted, in_s, range_in_words
from hpml.lab.report import answers
from hpml.lab.report.machine import Machine, draw_for
from hpml.lab.report.published import against_published
from hpml.report.collect import Run, clean
from hpml.report.comparison import Comparison
from hpml.report.tables import Cell, Table, setting_table
from hpml.statistics import Estimate
from hpml.workers.picture import draw_workers

_MEANS = "Means over the runs; no validation"
_CAPTION = f"{_MEANS}; the five phases add up to the time"


@dataclass
class Figures:
    """The results of one part on one machine, or on all of them together."""

    tables: list[tuple[Table, str]] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    code: str = ""


def figures_of(part: str, machines: Sequence[Machine]) -> list[tuple[Machine, Figures]]:
    """A part's figures of each machine that has any; C5, about all of them, is with the first."""
    if part == "c5":
        return _devices(machines)
    return [(machine, figures) for machine in machines if (figures := _MAKE[part](machine))]


def _learning(machine: Machine) -> Figures | None:
    if not machine.sgd:
        return None
    return Figures(
        [(answers.epoch_table(machine.sgd, phases=False), _MEANS)],
        machine.pictures("c1", machine.sgd, ["learning"]),
        answers.about_learning(machine.sgd),
    )


def _times(machine: Machine) -> Figures | None:
    if not machine.sgd:
        return None
    return Figures(
        [(answers.epoch_table(machine.sgd, curves=False), _CAPTION)],
        machine.pictures("c2", machine.sgd, ["phases"]),
        answers.about_times(machine.sgd),
    )


def _workers(machine: Machine) -> Figures | None:
    search = machine.workers
    if search is None:
        return None
    rows = [
        [
            Cell(count, int(count)),
            _timed(times["loading_s"], int(count) in search["tied_loading"]),
            _timed(times["epoch_s"], int(count) in search["tied"]),
        ]
        for count, times in search["settings"].items()
    ]
    table = Table(["workers", "loading alone, s", "training end to end, s"], rows)
    caption = "Seconds of an epoch without validation; * the fastest, or tied with it"
    picture = draw_workers(search, machine.lab, f"{machine.prefix('c3')}_workers")
    answer = [f"{capital(sentence)}." for sentence in search["sentences"]]
    return Figures([(table, caption)], [picture], [*answer, f"So use {search['override']}."])


def _diagnosis(machine: Machine) -> Figures | None:
    diagnosis = machine.diagnosis
    if diagnosis is None:
        return None
    by_title = {
        name: {row[0]: row[1:] for row in of["rows"]} for name, of in diagnosis["diagnoses"].items()
    }
    titles = dict.fromkeys(title for rows in by_title.values() for title in rows)
    rows = [
        [Cell(title), *(Cell(text) for of in by_title.values() for text in of.get(title, ("", "")))]
        for title in titles
    ]
    headings = [heading for name in by_title for heading in (name, "saves at most")]
    answer = []
    best = (machine.workers or {}).get("recommended")
    if best is not None and best < 2:
        answer.append(
            f"The best number of workers here is {best}: one worker is compared with the best "
            "number above it."
        )
    answer += [f"{capital(sentence)}." for sentence in diagnosis["comparison"]]
    for name, of in diagnosis["diagnoses"].items():
        verdict = of["verdict"]
        answer.append(f"{name}: {verdict['kind']}; {verdict['evidence']}. {verdict['advice']}.")
    caption = "How long an epoch would take with a cost taken out, without validation; ± is a 95 % "
    caption += "interval over rounds"
    return Figures([(Table(["an epoch of training", *headings], rows), caption)], [], answer)


def _optimizers(machine: Machine) -> Figures | None:
    names = {run.record.choices.get("optimizer") for run in machine.training}
    if len(names) < 2:
        return None
    comparison = Comparison([run.directory for run in machine.training])
    return Figures(
        [(setting_table(comparison), "Means over the epochs; all with one learning rate")],
        machine.pictures("c6", machine.training, ["learning", "phases"]),
        answers.about_optimizers(comparison),
    )


def _norm(machine: Machine) -> Figures | None:
    if not machine.no_norm:
        return None
    return Figures(
        [(answers.epoch_table(machine.no_norm), f"Without normalisation. {_CAPTION}")],
        machine.pictures("c7", [*machine.sgd, *machine.no_norm], ["learning"]),
        answers.about_norm(machine.sgd, machine.no_norm),
    )


def _devices(machines: Sequence[Machine]) -> list[tuple[Machine, Figures]]:
    there = [machine for machine in machines if machine.sgd or machine.other_devices]
    if not there:
        return []
    by_device: dict[str, list[Run]] = {}
    for machine in there:
        for run in [*machine.sgd, *machine.other_devices]:
            device = run.record.environment.get("device") or run.record.config.get("device")
            by_device.setdefault(machine.in_front(clean(str(device)), there), []).append(run)
    figures = Figures(answer=answers.about_devices(by_device))
    for device, of_device in by_device.items():
        table = answers.epoch_table(of_device, curves=False)
        figures.tables.append((table, f"{device}. {_CAPTION}"))
    runs = [run for of_device in by_device.values() for run in of_device]
    # two machines with a device of one name would be drawn as repeats
    if 1 < len(by_device) == len({str(run.record.config.get("device")) for run in runs}):
        figures.pictures = draw_for("c5", runs, there[0].lab, ["by_device", "phases"])
    return [(machine, figures if machine is there[0] else Figures()) for machine in there]


def _convolutions(machine: Machine) -> Figures | None:
    facts = machine.summary("sgd")
    if facts is None:
        return None
    answer = f"{facts['name']} has {counted(facts['conv_layers'], 'convolution')}: "
    answer += f"{facts['conv_layers_main_path']} on the main path, "
    answer += f"{facts['conv_layers_shortcuts']} on shortcuts."
    rows = [
        [Cell(layer["name"]), Cell(layer["type"]), _count(layer["parameters"])]
        for layer in facts.get("layers", ())
        if layer["parameters"]
    ]
    table = Table(["layer", "type", "parameters"], rows, 2)
    return Figures([(table, "Layers with parameters")], [], [answer], _code(facts, "convolutions"))


def _last_layer(machine: Machine) -> Figures | None:
    facts = machine.summary("sgd")
    if facts is None:
        return None
    inputs = facts["linear_in_features"]
    answer = "There is no linear layer." if inputs is None else f"It has {inputs:,} input features."
    return Figures([], [], [answer], _code(facts, "linear"))


def _with_sgd(machine: Machine) -> Figures | None:
    with_norm = {"with normalisation": "sgd", "without normalisation": "no_norm_sgd"}
    return _gradients(machine, with_norm if machine.has_norm else {"as it is": "sgd"})


def _with_adam(machine: Machine) -> Figures | None:
    without_norm = {"without normalisation": "no_norm_adam"}
    return _gradients(machine, without_norm if machine.has_norm else {"as it is": "adam"})


def _gradients(machine: Machine, names: dict[str, str]) -> Figures | None:
    summaries = {title: facts for title, name in names.items() if (facts := machine.summary(name))}
    if not summaries:
        return None
    rows, answer = [], []
    for title, facts in summaries.items():
        nonzero = list((facts.get("nonzero_by_seed") or {}).values())
        spread = range_in_words(nonzero)
        state = (facts.get("optimizer") or {}).get("state_elements")
        parameters, gradients = facts["trainable_parameters"], facts.get("gradients")
        counts = [_count(parameters), _count(gradients), Cell(spread), _count(state)]
        rows.append([Cell(title), *counts])
        answer.append(f"{capital(title)} {parameters:,} parameters are trained.")
        if nonzero and gradients is not None:
            of_these = "all of them" if min(nonzero) == gradients else f"{spread} of them"
            answer.append(
                f"One backward pass gives {gradients:,} gradients; {of_these} are not zero "
                f"({counted(len(nonzero), 'seed')}; {facts['batch']})."
            )
        by_optimizer = facts.get("nonzero_by_optimizer") or {}
        if len(by_optimizer) > 1 and len(set(by_optimizer.values())) == 1:
            same = f"With the same seed {' and '.join(by_optimizer)} give the same number: "
            same += "gradients are computed before the optimizer acts, so a difference between "
            same += "them is chance."
            answer += [same] if same not in answer else []
        answer += against_published(facts)
        if state is not None and parameters:
            answer.append(
                f"{facts['optimizer']['name']} keeps {state:,} elements of state, "
                f"{state / parameters:.3g} for each parameter."
            )
    headings = ["network", "parameters", "gradients", "not zero", "optimizer's state"]
    code = _code(next(iter(summaries.values())), "trainable|gradients")
    return Figures([(Table(headings, rows), "Elements")], [], answer, code)


_MAKE: dict[str, Callable[[Machine], Figures | None]] = {
    "c1": _learning,
    "c2": _times,
    "c3": _workers,
    "c4": _diagnosis,
    "c6": _optimizers,
    "c7": _norm,
    "q1": _convolutions,
    "q2": _last_layer,
    "q3": _with_sgd,
    "q4": _with_adam,
}


def _timed(times: dict[str, Any], tied: bool) -> Cell:
    text = in_s(Estimate(times["mean"], times["half_width"], times["n"])).removesuffix(" s")
    return Cell(text + "*" * tied, times["mean"])


def _count(value: int | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,}", value)


def _code(facts: dict[str, Any], wanted: str) -> str:
    """The counting functions whose names match, as the summary prints them."""
    functions = re.split(r"(?m)^(?=def )", facts.get("code", ""))
    return "\n\n\n".join(f.strip() for f in functions if re.match(rf"def \w*({wanted})", f))
