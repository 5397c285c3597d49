"""Q1 to Q4: what a network is made of, as tables, code and sentences."""

import re
from collections.abc import Iterator
from typing import Any

from hpml.formatting import capital, counted, range_in_words
from hpml.lab.report.machine import Machine
from hpml.lab.report.part_result import PartResult
from hpml.lab.report.published import nonzero
from hpml.report.tables import Cell, Table


def convolutions(machine: Machine, facts: dict[str, Any]) -> PartResult:
    answer = f"{facts['name']} has {counted(facts['conv_layers'], 'convolution')}: "
    answer += f"{facts['conv_layers_main_path']} on the main path, "
    answer += f"{facts['conv_layers_shortcuts']} on shortcuts."
    rows = [
        [Cell(layer["name"]), Cell(layer["type"]), _count(layer["parameters"])]
        for layer in facts.get("layers", ())
        if layer["parameters"]
    ]
    table = Table(["layer", "type", "parameters"], rows, 2)
    code = _code(facts, "convolutions")
    return PartResult(tables=[(table, "Layers with parameters")], code=code, answer=[answer])


def last_layer(machine: Machine, facts: dict[str, Any]) -> PartResult:
    inputs = facts["linear_in_features"]
    answer = "There is no linear layer." if inputs is None else f"It has {inputs:,} input features."
    return PartResult(code=_code(facts, "linear"), answer=[answer])


def summaries(optimizer: str, machine: Machine) -> dict[str, dict[str, Any]]:
    names = {"with normalisation": optimizer, "without normalisation": f"no_norm_{optimizer}"}
    if not machine.has_norm:
        names = {"as it is": optimizer}
    return {title: facts for title, name in names.items() if (facts := machine.summary(name))}


def gradients(machine: Machine, summaries: dict[str, dict[str, Any]]) -> PartResult:
    rows = []
    for title, facts in summaries.items():
        spread = range_in_words(nonzero(facts))
        state = (facts.get("optimizer") or {}).get("state_elements")
        counts = (_count(facts["trainable_parameters"]), _count(facts.get("gradients")))
        rows.append([Cell(title), *counts, Cell(spread), _count(state)])
    sentences = (line for title, of in summaries.items() for line in _about_gradients(title, of))
    headings = ["network", "parameters", "gradients", "not zero", "optimizer's state"]
    return PartResult(
        tables=[(Table(headings, rows), "Elements")],
        code=_code(next(iter(summaries.values())), "trainable|gradients"),
        answer=list(dict.fromkeys(sentences)),  # some are about any network
    )


def _about_gradients(title: str, facts: dict[str, Any]) -> Iterator[str]:
    parameters, gradients = facts["trainable_parameters"], facts.get("gradients")
    yield f"{capital(title)} {parameters:,} parameters are trained."
    counts, by_optimizer = nonzero(facts), facts.get("nonzero_by_optimizer") or {}
    if counts and gradients is not None:
        some = f"{range_in_words(counts)} of them are not"
        yield (
            f"One backward pass gives {gradients:,} gradients; "
            f"{'none of them is' if min(counts) == gradients else some} zero "
            f"({counted(len(counts), 'seed')}; {facts['batch']})."
        )
    if len(by_optimizer) > 1 and len(set(by_optimizer.values())) == 1:
        yield (
            f"With the same seed {' and '.join(by_optimizer)} give the same number: gradients are "
            "computed before the optimizer acts, so a difference between them is chance."
        )
    optimizer = facts.get("optimizer") or {}
    if parameters and (state := optimizer.get("state_elements")) is not None:
        each = f"{state / parameters:.3g} for each parameter"
        yield f"{optimizer['name']} keeps {state:,} elements of state, {each}."


def _count(value: int | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,}", value)


def _code(facts: dict[str, Any], wanted: str) -> str:
    """The counting functions whose names match, as the summary prints them."""
    functions = re.split(r"(?m)^(?=def )", facts.get("code", ""))
    return "\n\n\n".join(f.strip() for f in functions if re.match(rf"def \w*({wanted})", f))
