#!/usr/bin/env bash
# Hydra sweeps a key over `range(start, stop, step)`, of floats too; stop is left out.
#
# One would guess: the values are start plus multiples of step, those that one would type, below stop.
# What is seen: the step is added up. range(0.1,0.5,0.1) has 0.30000000000000004, which is the value and
#   the name of the job's directory, and range(1,1.3,0.1) has four values: the third sum is a little
#   below 1.3, so stop is among them. range(0,1,0.1) has 0.7000000000000001 and ten values.
# Versions: hydra-core 1.3.8, omegaconf 2.3.1.
# Why it matters: a job lr=0.3 that is run by itself, or by `lr=0.1,0.3`, is another job to whatever
#   compares configurations or directories, and a sweep may have a job more than was meant.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hydra-core==1.3.8 omegaconf==2.3.1
cat >"$folder/ranges.py" <<'PYTHON'
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser


def values(of: str) -> list[str]:
    return list(OverridesParser.create().parse_override(f"lr={of}").sweep_string_iterator())


third, end = values("range(0.1,0.5,0.1)"), values("range(1,1.3,0.1)")
print("range(0.1,0.5,0.1):", *third)
print("range(1,1.3,0.1):  ", *end)
sys.exit(not (third[2] == "0.30000000000000004" and end == ["1.0", "1.1", "1.2", "1.3"]))
PYTHON
"$folder/venv/bin/python" "$folder/ranges.py"
