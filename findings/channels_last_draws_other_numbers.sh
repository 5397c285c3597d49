#!/usr/bin/env bash
# A network and its images in channels_last compute the same as in the usual layout, but faster.
#
# One would guess: so do dropout and noise: the same seed drops the same elements.
# What is seen: numbers are drawn in the order of memory, so that dropout, rand_like, randn_like and the
#   initialisation of weights that lie in channels_last give element (n, c, h, w) another number. What
#   draws for whole channels (dropout2d) or takes probabilities (bernoulli) is the same.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: two runs that differ in the memory format alone differ in their dropout and, if the
#   weights are brought into it before they are initialised, from the first step on: their losses
#   cannot be compared step by step.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/draws.py" <<'PYTHON'
import sys

import torch
from torch import nn
from torch.nn import functional as F

DRAWS = {
    "dropout": F.dropout,
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "kaiming_normal_": lambda weight: nn.init.kaiming_normal_(weight.clone()),
    "dropout2d": F.dropout2d,
    "bernoulli": lambda images: torch.bernoulli(images / 2),
}
images = torch.ones(2, 3, 8, 8)
in_channels_last = images.to(memory_format=torch.channels_last)


def same(draw) -> bool:
    torch.manual_seed(0)
    usual = draw(images)
    torch.manual_seed(0)
    return torch.equal(usual, draw(in_channels_last))


agree = {name: same(draw) for name, draw in DRAWS.items()}
print("the same in both layouts:", agree)
sys.exit(list(agree.values()) != [False, False, False, False, True, True])
PYTHON
"$folder/venv/bin/python" "$folder/draws.py"
