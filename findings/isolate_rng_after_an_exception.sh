#!/usr/bin/env bash
# Lightning's isolate_rng promises a block after which the random states are as they were.
#
# One would guess: they are restored however the block ends, as `with` suggests.
# What is seen: where the block raises, nothing is restored. The states stay where the block left
#   them, and later draws differ from those of a run in which nothing failed.
# Versions: lightning 2.6.6, torch 2.14.1.
# Why it matters: code that tries something in the block and catches its error (a trial, a probe of
#   a batch size, a test) changes every draw behind it, and a run is no longer reproducible.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 lightning==2.6.6
cat >"$folder/draws.py" <<'PYTHON'
import contextlib
import sys

import torch
from lightning.pytorch.utilities.seed import isolate_rng


def draw_behind_a_block(fails: bool) -> float:
    torch.manual_seed(0)
    with contextlib.suppress(RuntimeError), isolate_rng():
        torch.rand(100)
        if fails:
            raise RuntimeError
    return torch.rand(1).item()


torch.manual_seed(0)
expected = torch.rand(1).item()
ended, failed = draw_behind_a_block(fails=False), draw_behind_a_block(fails=True)
print(f"without a block {expected:.6f}; behind one that ends {ended:.6f}; behind one that raises {failed:.6f}")
sys.exit(not (ended == expected and failed != expected))
PYTHON
"$folder/venv/bin/python" "$folder/draws.py"
