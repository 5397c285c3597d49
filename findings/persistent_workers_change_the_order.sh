#!/usr/bin/env bash
# `persistent_workers=True` keeps a DataLoader's workers from one epoch to the next.
#
# One would guess: it saves the starting of processes, and the samples come in the same order.
# What is seen: from the second epoch on a shuffled loader has another order, by the same seed; with a
#   generator of its own as well as with torch's. A new iterator draws a seed for its workers before the
#   sampler draws; one that is kept does not draw again.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: who compares losses with and without it, or sweeps over it, compares different
#   batches; a run that resumes with the other setting sees samples twice, others never.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/order.py" <<'PYTHON'
import sys

import torch
from torch.utils.data import DataLoader

if __name__ == "__main__":

    def epochs(workers: int, persistent: bool) -> list[list[int]]:
        generator = torch.Generator().manual_seed(0)
        samples = list(range(12))
        loader = DataLoader(
            samples,
            batch_size=4,
            shuffle=True,
            num_workers=workers,
            persistent_workers=persistent,
            generator=generator,
        )
        return [torch.cat(list(loader)).tolist() for _ in range(3)]

    none, fresh, kept = epochs(0, False), epochs(2, False), epochs(2, True)
    for name, order in {"no workers": none, "new ones": fresh, "persistent": kept}.items():
        print(f"{name:>12}", *order)
    same = none == fresh and fresh[0] == kept[0]
    sys.exit(not (same and fresh[1] != kept[1] and fresh[2] != kept[2]))
PYTHON
"$folder/venv/bin/python" "$folder/order.py"
