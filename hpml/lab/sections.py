"""From the lab's results to its page: a section for each part, from all machines it ran on."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpml.diagnosis.diagnosis import in_s
from hpml.lab.machine import Machine
from hpml.lab.parts import PARTS, TRAINING
from hpml.lab.tasks import (
    LAB_FILE,
    override,
)
from hpml.report import lab_answers as answers
from hpml.report import published
from hpml.report.collect import Run, clean
from hpml.report.comparison import Comparison
from hpml.report.lab_page import Heading, Section, draw_for, write_lab_page
from hpml.report.ranking import decimals
from hpml.report.statistics import Estimate, estimate
from hpml.report.tables import Cell, Table, setting_table
from hpml.report.worker_picture import draw_workers
from hpml.units import counted

PICTURES = ("c[0-9]_*.png", "c[0-9]_*.svg")


def write_report(lab: Path) -> Path:
    """Writes `report.html`, `report.md` and the pictures; returns the page's path."""
    for pattern in PICTURES:
        for old in lab.glob(pattern):
            old.unlink()
    folders = sorted(file.parent for file in lab.glob(f"*/{LAB_FILE}"))
    machines = [Machine(folder, lab) for folder in folders]
    sections = [_section(part, machines, lab) for part in PARTS]
    table = published.published_table(_own(machines))
    shortened = [
        machine.in_front(told, machines)
        for machine in machines
        for told in (machine.shortened, machine.shortened_search)
        if told
    ]
    sections.append(
        Section(
            "Published",
            "Beside two published submissions",
            "What others have handed in for the same lab, and what was wrong with it.",
            shortened="; ".join(shortened),
            tables=[(table, published.published_caption())],
        )
    )
    budgets = sorted({b for m in machines if (b := m.state.get("budget_min"))})
    heading = Heading(
        title=f"The lab: {clean(lab.name)}",
        summary="; ".join([*_trained(machines), _SUMMARY]),
        hardware=[machine.hardware for machine in machines],
        shortened="; ".join(shortened),
        budget=f"Fitted into {', '.join(f'{b:g}' for b in budgets)} minutes." if budgets else "",
    )
    return write_lab_page(sections, heading, lab)


@dataclass
class Figures:
    """What one part has found on one machine, or on all of them together."""

    tables: list[tuple[Table, str]] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    code: str = ""


def _section(part: str, machines: Sequence[Machine], lab: Path) -> Section:
    asked, make = PARTS[part], _MAKE[part]
    of_all = [(machine, figures) for machine in machines if (figures := make(machine))]
    if part == "c5":
        of_all = _devices(machines)
    if not of_all:
        return Section(
            part.upper(), asked.title, asked.asked, missing=_missing(part, machines, lab)
        )
    there = [machine for machine, _ in of_all]
    by_itself = there if part != "c5" else []  # which has one table of all machines
    shortened = []
    if part == "c3":
        shortened = [m.in_front(m.shortened_search, there) for m in there if m.shortened_search]
    elif part[0] == "c" and part != "c4":
        shortened = [m.in_front(m.shortened, there) for m in there if m.shortened]
    tasks = {asked.task, TRAINING} if part in ("c5", "c7") else {asked.task}
    return Section(
        part.upper(),
        asked.title,
        asked.asked,
        commands=[words for m in there for task in sorted(tasks) for words in m.commands(task)],
        hardware=[machine.name for machine in there],
        shortened="; ".join(shortened),
        tables=[(t, m.in_front(caption, by_itself)) for m, f in of_all for t, caption in f.tables],
        pictures=[picture for _, figures in of_all for picture in figures.pictures],
        code=of_all[0][1].code,
        answer=[m.in_front(line, by_itself) for m, figures in of_all for line in figures.answer],
    )


def _missing(part: str, machines: Sequence[Machine], lab: Path) -> str:
    """What to do for a part without figures."""
    if part == "c7" and machines and not any(m.state.get("has_norm", True) for m in machines):
        return "The network has no normalisation to do without."
    typed = machines[0].state.get("typed", []) if machines else []
    words = [*typed, override("lab.name", lab.name), f"lab.parts=[{part}]"]
    return f"To run it: {shlex.join(['python', '-m', 'hpml.lab', *words])}"


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
    found = machine.workers
    if found is None:
        return None
    rows = []
    for count, times in found["settings"].items():
        cells = [
            _timed(times[name], int(count) in found[tied])
            for name, tied in (("loading_s", "tied_loading"), ("epoch_s", "tied"))
        ]
        rows.append([Cell(count, int(count)), *cells])
    table = Table(["workers", "loading alone, s", "training end to end, s"], rows)
    caption = "Seconds of an epoch without validation; * the fastest, or tied with it"
    picture = draw_workers(found, machine.lab, f"{machine.prefix('c3')}_workers")
    answer = [f"{_capital(sentence)}." for sentence in found["sentences"]]
    return Figures([(table, caption)], [picture], [*answer, f"So use {found['override']}."])


def _diagnosis(machine: Machine) -> Figures | None:
    found = machine.diagnosis
    if found is None:
        return None
    told = {
        name: {row[0]: row[1:] for row in of["rows"]} for name, of in found["diagnoses"].items()
    }
    titles = list(dict.fromkeys(title for rows in told.values() for title in rows))
    rows = [
        [Cell(title), *(Cell(text) for rows in told.values() for text in rows.get(title, ("", "")))]
        for title in titles
    ]
    headings = ["an epoch of training"]
    for name in told:
        headings += [name, "saves at most"]
    answer = []
    best = (machine.workers or {}).get("recommended")
    if best is not None and best < 2:
        answer.append(
            f"The best number of workers here is {best}: one worker is compared with the best "
            "number above it."
        )
    answer += [f"{_capital(sentence)}." for sentence in found["comparison"]]
    for name, one in found["diagnoses"].items():
        verdict = one["verdict"]
        answer.append(f"{name}: {verdict['kind']}; {verdict['evidence']}. {verdict['advice']}.")
    caption = "How long an epoch would take with a cost taken out, without validation; ± is a 95 % "
    caption += "interval over rounds"
    return Figures([(Table(headings, rows), caption)], [], answer)


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
    """C5 is about all machines together: the first has the figures of all."""
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
        figures.tables.append(
            (answers.epoch_table(of_device, curves=False), f"{device}. {_CAPTION}")
        )
    runs = [run for of_device in by_device.values() for run in of_device]
    # two machines with a device of one name would be drawn as repeats
    if 1 < len(by_device) == len({str(run.record.config.get("device")) for run in runs}):
        comparison = Comparison([run.directory for run in runs])
        figures.pictures = draw_for("c5", comparison, there[0].lab, ["by_device", "phases"])
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
    told = "There is no linear layer." if inputs is None else f"It has {inputs:,} input features."
    return Figures([], [], [told], _code(facts, "linear"))


def _with_sgd(machine: Machine) -> Figures | None:
    if not machine.state.get("has_norm", True):
        return _gradients(machine, {"as it is": "sgd"})
    return _gradients(
        machine, {"with normalisation": "sgd", "without normalisation": "no_norm_sgd"}
    )


def _with_adam(machine: Machine) -> Figures | None:
    if not machine.state.get("has_norm", True):
        return _gradients(machine, {"as it is": "adam"})
    return _gradients(machine, {"without normalisation": "no_norm_adam"})


def _gradients(machine: Machine, names: dict[str, str]) -> Figures | None:
    """What the networks' parameters, gradients and optimizer's state count."""
    found = {title: machine.summary(name) for title, name in names.items()}
    known = {title: facts for title, facts in found.items() if facts is not None}
    if not known:
        return None
    rows, answer = [], []
    for title, facts in known.items():
        nonzero = list((facts.get("nonzero_by_seed") or {}).values())
        spread = _range(nonzero)
        state = (facts.get("optimizer") or {}).get("state_elements")
        counts = [facts["trainable_parameters"], facts.get("gradients")]
        rows.append([Cell(title), *map(_count, counts), Cell(spread), _count(state)])
        answer.append(f"{_capital(title)} {counts[0]:,} parameters are trained.")
        if nonzero and counts[1] is not None:
            seeds = counted(len(nonzero), "seed")
            of_these = "all of them" if min(nonzero) == counts[1] else f"{spread} of them"
            answer.append(
                f"One backward pass gives {counts[1]:,} gradients; {of_these} are not zero "
                f"({seeds}; {facts['batch']})."
            )
        by_optimizer = facts.get("nonzero_by_optimizer") or {}
        if len(by_optimizer) > 1 and len(set(by_optimizer.values())) == 1:
            told = f"With the same seed {' and '.join(by_optimizer)} give the same number: "
            told += "gradients are computed before the optimizer acts, so a difference between "
            told += "them is chance."
            answer += [told] if told not in answer else []
        if state is not None and counts[0]:
            answer.append(
                f"{facts['optimizer']['name']} keeps {state:,} elements of state, "
                f"{state / counts[0]:.3g} for each parameter."
            )
    headings = ["network", "parameters", "gradients", "not zero", "optimizer's state"]
    code = _code(next(iter(known.values())), "trainable|gradients")
    return Figures([(Table(headings, rows), "Elements")], [], answer, code)


_SUMMARY = "every figure was measured by the commands beside it; the answers are sentences that a "
_SUMMARY += "program makes of the figures"
_MEANS = "Means over the runs; no validation"
_CAPTION = f"{_MEANS}; the five phases add up to the time"
_MAKE: dict[str, Callable[[Machine], Figures | None]] = {
    "c1": _learning,
    "c2": _times,
    "c3": _workers,
    "c4": _diagnosis,
    "c5": lambda machine: None,
    "c6": _optimizers,
    "c7": _norm,
    "q1": _convolutions,
    "q2": _last_layer,
    "q3": _with_sgd,
    "q4": _with_adam,
}


def _trained(machines: Sequence[Machine]) -> list[str]:
    """Which network on which data: `resnet18 on cifar10`."""
    runs = (run.record.choices for machine in machines for run in machine.sgd)
    found = dict.fromkeys(f"{of.get('model')} on {of.get('data')}" for of in runs)
    return [clean(", ".join(found))] if found else []


def _own(machines: Sequence[Machine]) -> dict[str, str]:
    """This lab's figures beside the published ones; of several machines those with a GPU first."""
    ordered = sorted(machines, key=lambda machine: machine.environment.get("device") == "cpu")
    own: dict[str, str] = {}
    for machine in ordered:
        for key, text in _of_machine(machine):
            own.setdefault(key, text)
    return own


def _of_machine(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.workers is not None:
        yield published.BEST_WORKERS, str(machine.workers["recommended"])
    runs = [run for run in [*machine.sgd, *machine.other_devices] if run.completed]
    for key, of_cpu in ((published.EPOCH_CPU_S, True), (published.EPOCH_GPU_S, False)):
        of = [run for run in runs if (run.record.environment.get("device") == "cpu") == of_cpu]
        if times := estimate([t for run in of if (t := run.measures["epoch_s"]) is not None]):
            yield key, f"{times.mean:.{decimals(times.mean)}f}"
    for name in published.OPTIMIZERS:
        of_name = [run for run in machine.training if run.record.choices.get("optimizer") == name]
        yield from _of_training(name, of_name)
    yield from _of_training(published.NO_NORM, machine.no_norm)
    of = [run for run in machine.sgd if run.completed]
    if waits := estimate([w for run in of if (w := run.measures["data_s"]) is not None]):
        yield published.DATA_S, f"{waits.mean:.{decimals(waits.mean)}f}"
    if facts := machine.summary("sgd"):
        yield published.CONV_LAYERS, str(facts["conv_layers"])
        yield published.LINEAR_INPUTS, str(facts["linear_in_features"] or "none")
        yield published.PARAMETERS, f"{facts['trainable_parameters']:,}"
    for key, name in (
        (published.GRADIENTS_SGD, "no_norm_sgd"),
        (published.GRADIENTS_ADAM, "no_norm_adam"),
    ):
        if facts := machine.summary(name):
            yield published.PARAMETERS_NO_NORM, f"{facts['trainable_parameters']:,}"
            if counts := list((facts.get("nonzero_by_seed") or {}).values()):
                yield key, _range(counts)


def _of_training(name: str, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    completed = [run for run in runs if run.completed]
    times = estimate([t for run in completed if (t := run.measures["epoch_s"]) is not None])
    if times:
        yield name + published.EPOCH_S, f"{times.mean:.{decimals(times.mean)}f}"
    for figure, metric, spec in (
        (published.LOSS, "train/loss", ".4f"),
        (published.ACCURACY, "train/accuracy", ".2%"),
    ):
        values = [v for run in completed if (v := run.record.last_metric(metric)) is not None]
        if known := estimate(values):
            yield name + figure, f"{known.mean:{spec}}"


def _timed(known: dict[str, Any], tied: bool) -> Cell:
    text = in_s(Estimate(known["mean"], known["half_width"], known["n"])).removesuffix(" s")
    return Cell(text + "*" * tied, known["mean"])


def _count(value: int | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,}", value)


def _range(counts: Sequence[int]) -> str:
    """`8 to 9`; one number where they are all the same."""
    if not counts:
        return "–"
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def _code(facts: dict[str, Any], wanted: str) -> str:
    """The counting functions whose names match, as the summary prints them."""
    functions = re.split(r"(?m)^(?=def )", facts.get("code", ""))
    return "\n\n\n".join(f.strip() for f in functions if re.match(rf"def \w*({wanted})", f))


def _capital(text: str) -> str:
    """A sentence's beginning; a key or a number stays as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text
