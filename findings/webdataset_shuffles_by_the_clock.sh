#!/usr/bin/env bash
# webdataset shuffles samples in a buffer; the seeds of random, NumPy and torch are set before.
#
# One would guess: the order is that of the seeds, as with everything else that draws in the process.
# What is seen: the buffer's generator is seeded with the process's id and the time of day. The order is
#   another one each time, whatever `random.seed`, `numpy.random.seed` or Lightning's `seed_everything`
#   were given; with `shuffle(…, seed=7)` it is the same.
# Versions: webdataset 1.0.2.
# Why it matters: runs that repeat "with a fixed seed" differ in their batches, two seeds of a sweep
#   differ by more than their seed, and a run that resumes goes on in another order.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 numpy
cat >"$folder/shuffles.py" <<'PYTHON'
import random
import sys
import tempfile

import numpy
import webdataset


def order(shards: str, **seeds: int) -> list[int]:
    random.seed(0)
    numpy.random.seed(0)
    samples = webdataset.WebDataset(shards, shardshuffle=False).shuffle(100, **seeds).decode()
    return [sample["cls"] for sample in samples]


with tempfile.TemporaryDirectory() as folder:
    for shard in range(2):
        with webdataset.TarWriter(f"{folder}/{shard}.tar") as writer:
            for i in range(20):
                writer.write({"__key__": f"{shard}-{i:02d}", "cls": 20 * shard + i})
    shards = folder + "/{0..1}.tar"
    by_default = [order(shards) for _ in range(2)]
    seeded = [order(shards, seed=7) for _ in range(2)]
print("random and NumPy seeded:", by_default[0][:8], by_default[1][:8])
print("seed=7:                 ", seeded[0][:8], seeded[1][:8])
whole = sorted(by_default[0]) == list(range(40))
sys.exit(not (whole and by_default[0] != by_default[1] and seeded[0] == seeded[1]))
PYTHON
"$folder/venv/bin/python" "$folder/shuffles.py"
