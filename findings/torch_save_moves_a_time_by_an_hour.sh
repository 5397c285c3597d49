#!/usr/bin/env bash
# torch.save moves a time by an hour where clocks were set back.
#
# One would guess: what pickle keeps, torch.save keeps too, which pickles; a date and time with its
#   zone is the same instant after torch.load.
# What is seen: of the two times 02:30 of the night in which summer time ends, the second one comes
#   back as the first, 3,600 s earlier, and still compares equal to what was saved. torch.save writes
#   protocol 2 by default, in which datetime leaves out its `fold`; pickle's own default keeps it.
# Versions: torch 2.14.1, Python 3.11.
# Why it matters: a checkpoint's "saved at", a schedule or a sampler by the time of day is an hour off
#   after a resume, and no comparison of before and after shows it. pickle_protocol=4 keeps it, but
#   weights_only=True reads protocol 2 alone.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy tzdata
cat >"$folder/fold.py" <<'PYTHON'
import io
import pickle
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import torch

second = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
by_pickle = pickle.loads(pickle.dumps(second))


def by_torch(**settings: int) -> datetime:
    file = io.BytesIO()
    torch.save(second, file, **settings)
    file.seek(0)
    return torch.load(file, weights_only=False)


moved = {
    "pickle": by_pickle.timestamp() - second.timestamp(),
    "torch.save": by_torch().timestamp() - second.timestamp(),
    "torch.save, protocol 4": by_torch(pickle_protocol=4).timestamp() - second.timestamp(),
}
equal = by_torch() == second
print("seconds that the time has moved:", moved)
print("it compares equal all the same:", equal)
sys.exit((*moved.values(), equal) != (0, -3600, 0, True))
PYTHON
"$folder/venv/bin/python" "$folder/fold.py"
