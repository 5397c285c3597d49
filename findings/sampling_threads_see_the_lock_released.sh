#!/usr/bin/env bash
# A sampling profiler in a thread (pprofile's statistical mode) sees lines that release the
# interpreter's lock, and hardly those that compute in Python before them.
#
# One would guess: a look every millisecond falls on each function as often as it takes time: of a
#   sample that is inflated in 1 ms and parsed in 3 ms, one look in four on inflating.
# What is seen: nearly all looks on inflating. A look needs the interpreter's lock. A thread that
#   computes in Python keeps it for the switch interval of 5 ms, but zlib gives it up at once: so the
#   looks that are due while Python computes wait for the next call of zlib. With
#   sys.setswitchinterval(50e-6) the looks fall as the time does.
# Versions: pprofile 2.2.0, Python 3.11.7; sys._current_frames in any thread does the same.
# Why it matters: data loading alternates just so between Python and C that releases the lock (read,
#   decode, inflate). Who reads the profile makes the decoder faster, which is not what is slow.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pprofile==2.2.0
cat >"$folder/looks.py" <<'PYTHON'
import os
import sys
import time
import zlib
from collections import Counter

import pprofile

PACKED = zlib.compress(os.urandom(1000) * 400)


class Looks(pprofile.StatisticProfile):
    """Counts the functions that it finds running."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def sample(self, frame):
        self.found[frame.f_code.co_name] += 1
        super().sample(frame)


def inflate():
    return zlib.decompress(PACKED)


def parse(loops):
    total = 0
    for number in range(loops):
        total += number * number
    return total


def seconds(function, *given):
    begun_s = time.thread_time()
    function(*given)
    return time.thread_time() - begun_s


def shares_of_inflating(loops, for_s=4.0):
    """Of the time, and of the looks."""
    looks, spent = Looks(), Counter()
    until_s = time.monotonic() + for_s
    with pprofile.StatisticThread(profiler=looks, period=0.001):
        while time.monotonic() < until_s:
            spent["inflate"] += seconds(inflate)
            spent["parse"] += seconds(parse, loops)
    found = looks.found["inflate"], looks.found["parse"]
    return spent["inflate"] / spent.total(), found[0] / sum(found)


# three times as long as inflating, on whichever machine
inflating_s = min(seconds(inflate) for _ in range(20))
loops = round(10_000 * 3 * inflating_s / min(seconds(parse, 10_000) for _ in range(20)))
of_time, of_looks = shares_of_inflating(loops)
print(f"inflating: {of_time:.0%} of the time, {of_looks:.0%} of the looks")
sys.setswitchinterval(50e-6)
of_time_then, of_looks_then = shares_of_inflating(loops)
print(f"at a switch interval of 50 us: {of_time_then:.0%} of the time, {of_looks_then:.0%} of the looks")
sys.exit(not (of_looks > 2 * of_time and abs(of_looks_then - of_time_then) < 0.15))
PYTHON
"$folder/venv/bin/python" "$folder/looks.py"
