#!/usr/bin/env bash
# The same text as the value of a key, in a YAML file of Hydra's and as an override on its command line.
#
# One would guess: one value; OmegaConf replaces YAML's rule for 1e-3, so that both agree.
# What is seen: they agree for numbers such as 1e-3 and 1_000, and differ for others. A file's `off` is
#   false, on the command line it is the text "off", which is true in an `if`. A file's 10:00:00 is the
#   number 36,000 (in base 60), 09:00:00 a text; on the command line both are texts. 010 is 8 and "010",
#   0x1F is 31 and "0x1F".
# Versions: hydra-core 1.3.8, omegaconf 2.3.1.
# Why it matters: a walltime moved from the command line into an experiment's file is another one, or
#   none: `max_time: 10:00:00:00` arrives as 2160000, while 09:00:00:00 works. `scheduler=off` on the
#   command line switches on what it switches off in a file.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hydra-core==1.3.8 omegaconf==2.3.1
cat >"$folder/values.py" <<'PYTHON'
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

EXPECTED = {
    "1e-3": (0.001, 0.001),
    "1_000": (1000, 1000),
    "off": (False, "off"),
    "09:00:00": ("09:00:00", "09:00:00"),
    "10:00:00": (36000, "10:00:00"),
    "010": (8, "010"),
    "0x1F": (31, "0x1F"),
}
seen = {}
for text in EXPECTED:
    in_file = OmegaConf.create(f"key: {text}").key
    on_line = OverridesParser.create().parse_override(f"key={text}").value()
    seen[text] = (in_file, on_line)
    print(f"{text:>10}  in a file {in_file!r:>10}   on the command line {on_line!r:>10}")
sys.exit(repr(seen) != repr(EXPECTED))
PYTHON
"$folder/venv/bin/python" "$folder/values.py"
