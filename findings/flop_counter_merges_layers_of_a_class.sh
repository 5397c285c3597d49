#!/usr/bin/env bash
# torch's FlopCounterMode counts operations by module; get_flop_counts() gives them by name.
#
# One would guess: each layer has an entry, so the counts of a network can be printed layer by layer.
# What is seen: names are made of the modules that are being called. Layers that a plain function or
#   a training step calls one after the other have no parent, so all of one class share one entry,
#   `Linear`, with the sum. A layer that stands under two names in its parent has one of them alone.
# Version: torch 2.14.1.
# Why it matters: a table of FLOPs by layer built on it is wrong in silence for models that are not
#   one nn.Module with a forward of its own: the sum is right, the rows are not.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/count.py" <<'PYTHON'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs))


def by_name(*modules: nn.Module) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter:
        outputs = torch.ones(2, 8)
        for module in modules:
            outputs = module(outputs)
    counts = counter.get_flop_counts()
    return {name: sum(of.values()) for name, of in counts.items() if name != "Global"}


called_in_turn = by_name(nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(16, 4))
under_two_names = by_name(Shared())
print("three layers, called in turn:", called_in_turn)
print("one layer under two names:", under_two_names)
same = called_in_turn == {"Linear": 1024}
sys.exit(not (same and under_two_names == {"Shared": 512, "Shared.first": 512}))
PYTHON
"$folder/venv/bin/python" "$folder/count.py"
