#!/usr/bin/env bash
# torch's FlopCounterMode counts a convolution's backward pass as if it had no groups.
#
# One would guess: the gradients of input and weight cost a forward pass each, with groups or without,
#   so backward is twice forward.
# What is seen: twice without groups, 5 times with 4 groups, 65 times with 64. The formula for the
#   weight's gradient multiplies all input channels with all output channels; the others are right.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: depthwise networks (MobileNet, EfficientNet, ConvNeXt) get several times the FLOPs of
#   their training step, and by them a utilisation that may exceed what the machine can do.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/groups.py" <<'PYTHON'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def backward_over_forward(groups: int) -> float:
    layer = nn.Conv2d(64, 64, 3, padding=1, groups=groups)
    images = torch.ones(1, 64, 8, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        outputs = layer(images)
        forward = counter.get_total_flops()
        outputs.sum().backward()
    return (counter.get_total_flops() - forward) / forward


ratios = {groups: backward_over_forward(groups) for groups in (1, 4, 64)}
print("backward over forward, by groups:", ratios)
sys.exit(ratios != {1: 2, 4: 5, 64: 65})
PYTHON
"$folder/venv/bin/python" "$folder/groups.py"
