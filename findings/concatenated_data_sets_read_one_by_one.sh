#!/usr/bin/env bash
# A data set that reads a batch at once (`__getitems__`), concatenated with another one.
#
# One would guess: the DataLoader's batches still reach it as batches, as they do through Subset and
#   random_split.
# What is seen: ConcatDataset hands on single samples: 24 reads of one instead of 6 of four. A Subset of
#   the concatenation does not help.
# Versions: torch 2.14.1; the same in 2.15.0.
# Why it matters: batched reading is written where a single read is slow (a database, compressed blocks,
#   a remote file), and adding a second source gives it up without a word: loading takes as many times
#   longer as reading in batches had saved.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/reads.py" <<'PYTHON'
import sys

from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, random_split


class Batched(Dataset):
    def __init__(self) -> None:
        self.reads: list[int] = []

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> int:
        self.reads.append(1)
        return index

    def __getitems__(self, indices: list[int]) -> list[int]:
        self.reads.append(len(indices))
        return indices


def reads(wrap) -> list[int]:
    samples = Batched()
    list(DataLoader(wrap(samples), batch_size=4))
    return samples.reads


seen = {
    "as it is": reads(lambda samples: samples),
    "Subset": reads(lambda samples: Subset(samples, range(12))),
    "random_split": reads(lambda samples: random_split(samples, [12])[0]),
    "ConcatDataset": reads(lambda samples: ConcatDataset([samples, samples])),
}
for name, sizes in seen.items():
    print(f"{name:>14}: {len(sizes)} reads of {sizes[0]}")
sys.exit(list(seen.values()) != 3 * [[4, 4, 4]] + [24 * [1]])
PYTHON
"$folder/venv/bin/python" "$folder/reads.py"
