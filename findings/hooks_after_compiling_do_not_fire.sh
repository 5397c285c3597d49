#!/usr/bin/env bash
# A forward hook that is registered on a layer of a network that torch.compile has compiled.
#
# One would guess: it is called, at the price of compiling again, as other changes of the module are
#   noticed (a replaced weight, train() and eval(), frozen parameters).
# What is seen: a hook that comes after the first call is never called, without a word; so is a hook for
#   the backward pass. Removing a hook, on the other hand, is noticed.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: profilers, activation statistics and debuggers that attach to a training under way read
#   nothing, or zeros, where they would read right values without torch.compile.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/hooks.py" <<'PYTHON'
import sys

import torch
from torch import nn


def calls(compiled: bool, called_before: bool) -> dict[str, int]:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    run = torch.compile(network, backend="eager") if compiled else network
    images = torch.ones(2, 4)
    if called_before:
        run(images)
    counts = {"pre": 0, "forward": 0, "backward": 0}

    def count(name: str):
        def hook(*_) -> None:
            counts[name] += 1

        return hook

    network[0].register_forward_pre_hook(count("pre"))
    network[0].register_forward_hook(count("forward"))
    network[0].register_full_backward_hook(count("backward"))
    run(images).sum().backward()
    return counts


eager = calls(compiled=False, called_before=True)
after = calls(compiled=True, called_before=True)
print("as it is:", eager)
print("compiled, hooks after the first call:", after)
expected = dict.fromkeys(eager, 1)
sys.exit(not (eager == expected and after == dict.fromkeys(after, 0)))
PYTHON
"$folder/venv/bin/python" "$folder/hooks.py"
