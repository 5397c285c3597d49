#!/usr/bin/env bash
# A node of an OmegaConf configuration is handed on: to a data set, to hyperparameters, to a worker.
#
# One would guess: pickling `cfg.data`, three keys, takes as much as pickling these three keys.
# What is seen: a node knows its parent, so that the whole tree is pickled with it: with 1,000 other keys
#   some 70,000 bytes instead of some 500. What is loaded has the other keys in it, too.
# Versions: omegaconf 2.3.1.
# Why it matters: a data set that keeps `cfg.data` sends all of the configuration to each worker that is
#   spawned, and a checkpoint's hyperparameters hold all of it, secrets and paths of other parts too.
#   `OmegaConf.to_container(cfg.data)` has the part alone.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check omegaconf==2.3.1
cat >"$folder/part.py" <<'PYTHON'
import pickle
import sys

from omegaconf import OmegaConf

cfg = OmegaConf.create(
    {"other": {f"key_{i}": i for i in range(1000)}, "data": {"root": "a", "batch_size": 128}}
)
alone = OmegaConf.create({"root": "a", "batch_size": 128})
whole, part, by_itself = (len(pickle.dumps(each)) for each in (cfg, cfg.data, alone))
print(f"pickled: the whole {whole} bytes, cfg.data {part}, the same keys by themselves {by_itself}")
behind = pickle.loads(pickle.dumps(cfg.data))._get_root()
print("keys that came along:", len(behind.other))
sys.exit(not (part > 0.99 * whole > 50 * by_itself and len(behind.other) == 1000))
PYTHON
"$folder/venv/bin/python" "$folder/part.py"
