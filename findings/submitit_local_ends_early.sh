#!/usr/bin/env bash
# submitit's local executor gives a function of one minute half a minute.
#
# One would guess: with timeout_min=1 a function that takes 40 s returns its value; the time before the
#   end in which SLURM warns a job is SLURM's, and there is no SLURM here.
# What is seen: 30 s before the limit the local executor sends the same warning, SIGUSR2. A plain
#   function cannot be requeued, so it ends there, after half of its time, and its result is an
#   UncompletedJobError. No parameter of the call names the 30 s; signal_delay_s, which does, is
#   documented as SLURM's.
# Version: submitit 1.5.4.
# Why it matters: a sweep tried out locally with short limits loses jobs that fit, with a cause
#   (killed, no output) that points at memory.
#
# Takes a minute. Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check submitit==1.5.4
cat >"$folder/run.py" <<'PYTHON'
import sys
import time

import submitit


def takes(seconds: float) -> str:
    time.sleep(seconds)
    return "its value"


executor = submitit.AutoExecutor("logs", cluster="local")
executor.update_parameters(timeout_min=1)
job = executor.submit(takes, 40)
try:
    outcome = job.result()
except submitit.core.utils.UncompletedJobError:
    outcome = "UncompletedJobError"
was_warned = "SIGUSR2" in (job.stderr() or "")
print(f"a function of 40 s, of 60: {outcome}; warned by SIGUSR2: {was_warned}")
sys.exit((outcome, was_warned) != ("UncompletedJobError", True))
PYTHON
cd "$folder"
"$folder/venv/bin/python" run.py
