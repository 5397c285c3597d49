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
# Takes 40 s. Exits with 1 if that changes.
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


def outcome(job) -> str:
    try:
        return job.result()
    except submitit.core.utils.UncompletedJobError:
        return "UncompletedJobError"


started = time.monotonic()
executor = submitit.AutoExecutor("logs", cluster="local")
executor.update_parameters(timeout_min=1)
short, long = executor.submit(takes, 20), executor.submit(takes, 40)
for seconds, job in ((20, short), (40, long)):
    print(f"a function of {seconds} s: {outcome(job)}, {time.monotonic() - started:.0f} s after the start")
ended_s = time.monotonic() - started
sys.exit(not (outcome(short) == "its value" and outcome(long) != "its value" and ended_s < 38))
PYTHON
cd "$folder"
"$folder/venv/bin/python" run.py
