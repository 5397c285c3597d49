#!/usr/bin/env bash
# torch.compile compiles for the shapes that it meets, and once more, for any size, at the second one.
#
# One would guess: an epoch's short last batch gets the code for any size, and full batches keep the
#   code that was compiled for theirs.
# What is seen: once it is there, the code for any size takes the full batches too, for ever: the newer
#   code is asked first, and it fits. The code made for them is not run again.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: every epoch but the first is trained by code that knows the batch size less well, and a
#   benchmark of full batches alone measures another code than the training runs. `drop_last=True` or
#   `torch.compile(dynamic=False)` keeps the first.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/shapes.py" <<'PYTHON'
import sys

import torch

compiled, runs = [], []


def backend(graph: torch.fx.GraphModule, _: list):
    """Runs the graph as it is, and notes which of the compiled ones it is."""
    name = "ABC"[len(compiled)]
    compiled.append(name)

    def run(*args):
        runs.append(name)
        return graph(*args)

    return run


network = torch.compile(torch.nn.Linear(4, 3), backend=backend)
sizes = 2 * [8, 8, 8, 5] + [7, 8]
for size in sizes:
    network(torch.ones(size, 4))
print("batches:    ", *sizes)
print("run by code:", *runs)
sys.exit(runs != 3 * ["A"] + 7 * ["B"])
PYTHON
"$folder/venv/bin/python" "$folder/shapes.py"
