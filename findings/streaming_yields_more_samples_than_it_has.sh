#!/usr/bin/env bash
# mosaicml-streaming's StreamingDataset, on one process, with one of its own ways to shuffle (py1s).
#
# One would guess: an epoch has each of the 100 samples once, as `len` says.
# What is seen: 128 samples come, 28 of them twice. py1s divides the samples among 64 "canonical nodes"
#   and fills each up to the same number; `num_canonical_nodes=8` yields 104 whatever the shuffling.
#   `len` of the data set and of the loader stay 100 and 13, though 16 batches come.
# Versions: mosaicml-streaming 0.13.0, torch 2.14.1.
# Why it matters: a validation set counts some samples twice, so that its accuracy is of another set;
#   throughput by `len` is too low by as much; schedules and bars that trust `len` end early.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 mosaicml-streaming==0.13.0
cat >"$folder/samples.py" <<'PYTHON'
import collections
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")

from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader

if __name__ == "__main__":

    def epoch(folder: str, **settings) -> tuple[int, int, int, int]:
        samples = StreamingDataset(local=folder, batch_size=8, **settings)
        loader = DataLoader(samples, batch_size=8)
        batches = [batch["number"].tolist() for batch in loader]
        counts = collections.Counter(number for batch in batches for number in batch)
        return len(samples), len(loader), len(batches), counts.total()

    with tempfile.TemporaryDirectory() as folder:
        with MDSWriter(out=folder, columns={"number": "int"}) as writer:
            for number in range(100):
                writer.write({"number": number})
        default = epoch(folder)
        py1s = epoch(folder, shuffle=True, shuffle_algo="py1s")
        eight = epoch(folder, num_canonical_nodes=8)
    print("len of set, len of loader, batches, samples")
    print("by default:           ", *default)
    print("py1s:                 ", *py1s)
    print("num_canonical_nodes=8:", *eight)
    expected = ((100, 13, 13, 100), (100, 13, 16, 128), (100, 13, 13, 104))
    sys.exit((default, py1s, eight) != expected)
PYTHON
"$folder/venv/bin/python" "$folder/samples.py"
