#!/usr/bin/env bash
# A compiled network counts its calls in an attribute, as for a warm-up of a loss or of dropout.
#
# One would guess: after a second value the number is treated as a variable, as a number that is given
#   to `forward` is, and as an attribute that is a float is; so two compilations.
# What is seen: an integer attribute is compiled in. Each step compiles anew, eight times, and from the
#   ninth step on nothing is compiled: the network runs as without torch.compile. The floats compile
#   twice.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: the first steps take minutes, all later ones are as slow as without, and all there is
#   to see is one warning of a limit. `register_buffer` with a tensor, or a float, avoids it.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/counter.py" <<'PYTHON'
import logging
import sys

import torch
from torch import nn

logging.getLogger("torch._dynamo").setLevel(logging.ERROR)


class Counting(nn.Module):
    def __init__(self, start: float) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.steps = start

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        return self.layer(inputs) * self.steps


def compilations_and_compiled_steps(start: float, steps: int) -> tuple[int, int]:
    torch._dynamo.reset()
    seen = {"compiled": 0, "ran": 0}

    def backend(graph: torch.fx.GraphModule, _: list):
        seen["compiled"] += 1

        def run(*args):
            seen["ran"] += 1
            return graph(*args)

        return run

    network = torch.compile(Counting(start), backend=backend)
    for _ in range(steps):
        network(torch.ones(2, 4))
    return seen["compiled"], seen["ran"]


integer, real = (compilations_and_compiled_steps(start, 20) for start in (0, 0.5))
print("an integer: compilations, compiled steps of 20:", integer)
print("a float:    compilations, compiled steps of 20:", real)
sys.exit(not (integer == (8, 8) and real == (2, 20)))
PYTHON
"$folder/venv/bin/python" "$folder/counter.py"
