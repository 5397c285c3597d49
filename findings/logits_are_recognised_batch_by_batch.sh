#!/usr/bin/env bash
# torchmetrics takes probabilities or logits: what lies outside of 0 to 1 gets a sigmoid.
#
# One would guess: the metric of an epoch does not depend on how its samples were divided into batches.
# What is seen: each batch is judged by itself. Logits of a batch that by chance all lie between 0 and 1
#   are taken for probabilities, those of other batches get the sigmoid, and the epoch's value mixes
#   both. Of the same 200 logits F1, AUROC and average precision are the same for batches of 200 and 16,
#   and others for batches of 1.
# Versions: torchmetrics 1.9.0, torch 2.14.1.
# Why it matters: small batches (a short last one, one image at a time for large images, many ranks) give
#   another figure for the same network, so that figures of runs that differ in batch size mislead.
#   Give it `logits.sigmoid()`.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchmetrics==1.9.0
cat >"$folder/batches.py" <<'PYTHON'
import sys

import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryF1Score

generator = torch.Generator().manual_seed(0)
labels = torch.randint(0, 2, (200,), generator=generator)
logits = torch.randn(200, generator=generator) + labels


def value(kind: type, scores: torch.Tensor, batch_size: int) -> float:
    metric = kind()
    for batch in zip(scores.split(batch_size), labels.split(batch_size)):
        metric.update(*batch)
    return round(metric.compute().item(), 4)


changes = []
for kind in (BinaryF1Score, BinaryAUROC, BinaryAveragePrecision):
    of_logits = [value(kind, logits, size) for size in (200, 16, 1)]
    given = [value(kind, logits.sigmoid(), size) for size in (200, 16, 1)]
    print(f"{kind.__name__}, batches of 200, 16, 1: logits {of_logits}, probabilities {given}")
    changes += [of_logits[0] == of_logits[1] != of_logits[2], given == 3 * given[:1]]
sys.exit(not all(changes))
PYTHON
"$folder/venv/bin/python" "$folder/batches.py"
