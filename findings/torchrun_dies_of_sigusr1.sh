#!/usr/bin/env bash
# torchrun hands on four signals; of any other it dies, and leaves its processes at work.
#
# One would guess: torchrun is the parent of the training, so a signal to it ends or reaches all of it,
#   as SIGTERM does; SIGUSR1, with which SLURM warns before preemption, is no exception.
# What is seen: after SIGTERM both workers get SIGTERM and end with torchrun. After SIGUSR1 torchrun is
#   gone at once, the workers have heard nothing, and go on for as long as they please. With
#   --signals-to-handle=…,SIGUSR1 they get it, and 30 s to end.
# Version: torch 2.14.1.
# Why it matters: under `srun torchrun` a handler of the training script for SLURM's warning may never
#   be called, what srun started is over, and a rank that lives on holds its GPU.
#
# Ends the workers itself. Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy
cat >"$folder/worker.py" <<'PYTHON'
import os
import signal
import sys
import time
from pathlib import Path

me = Path(f"worker-{os.environ['RANK']}")


def handle(number, frame):
    me.with_suffix(".heard").write_text(signal.Signals(number).name)
    sys.exit(0)


signal.signal(signal.SIGUSR1, handle)
signal.signal(signal.SIGTERM, handle)
me.with_suffix(".pid").write_text(str(os.getpid()))
time.sleep(120)
PYTHON
cat >"$folder/try.py" <<'PYTHON'
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def after(number, *options):
    """How torchrun ended, what its workers heard, and how many of them are alive."""
    for file in Path().glob("worker-*"):
        file.unlink()
    command = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node=2", *options, "worker.py"]
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(pids := [int(file.read_text() or 0) for file in Path().glob("*.pid")]) < 2 or 0 in pids:
        time.sleep(0.1)
    agent.send_signal(number)
    code = agent.wait()
    time.sleep(2)
    heard = sorted(file.read_text() for file in Path().glob("*.heard"))
    alive = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            alive += 1
    print(f"{signal.Signals(number).name} {' '.join(options)}: torchrun ended with {code}, "
          f"workers heard {heard}, {alive} of 2 live on")
    return heard, alive


term, usr1 = after(signal.SIGTERM), after(signal.SIGUSR1)
option = after(signal.SIGUSR1, "--signals-to-handle=SIGTERM,SIGINT,SIGUSR1")
expected = (["SIGTERM"] * 2, 0), ([], 2), (["SIGUSR1"] * 2, 0)
sys.exit((term, usr1, option) != expected)
PYTHON
cd "$folder"
"$folder/venv/bin/python" try.py
