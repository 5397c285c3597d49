#!/usr/bin/env bash
# A second phase of training: lower the rate of the optimizer by hand, and give it a new scheduler.
#
# One would guess: the scheduler starts at the rate that stands in the optimizer.
# What is seen: the first scheduler left an `initial_lr` in each group, which a second one takes for its
#   base. LambdaLR and CosineAnnealingWarmRestarts begin at the first phase's 0.1 instead of the 0.02 that
#   was set, a SequentialLR at its warm-up to 0.1. StepLR, ExponentialLR, CosineAnnealingLR and LinearLR
#   multiply what stands there, and begin at 0.02.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: a fine-tuning phase runs at five times its rate with one scheduler, and right with
#   another; a comparison of schedulers compares rates. Set `initial_lr` too, or delete it.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/phases.py" <<'PYTHON'
import sys

import torch
from torch.optim import lr_scheduler as schedulers

KINDS = {
    "LambdaLR": lambda optimizer: schedulers.LambdaLR(optimizer, lambda epoch: 1.0),
    "CosineAnnealingWarmRestarts": lambda optimizer: (
        schedulers.CosineAnnealingWarmRestarts(optimizer, 10)
    ),
    "StepLR": lambda optimizer: schedulers.StepLR(optimizer, 100),
    "ExponentialLR": lambda optimizer: schedulers.ExponentialLR(optimizer, 1.0),
    "CosineAnnealingLR": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, 10),
}


def first_rate(kind: str) -> float:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    first = schedulers.StepLR(optimizer, step_size=1, gamma=0.1)
    optimizer.step()
    first.step()
    optimizer.param_groups[0]["lr"] = 0.02
    KINDS[kind](optimizer)
    return round(optimizer.param_groups[0]["lr"], 6)


rates = {kind: first_rate(kind) for kind in KINDS}
for kind, rate in rates.items():
    print(f"{kind:>28} begins at {rate}, after 0.02 was set")
sys.exit(list(rates.values()) != [0.1, 0.1, 0.02, 0.02, 0.02])
PYTHON
"$folder/venv/bin/python" "$folder/phases.py"
