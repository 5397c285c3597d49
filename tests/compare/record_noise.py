"""Records what this machine's noise does to turns of one and the same program, for the simulations.

    python tests/compare/record_noise.py quiet [ROUNDS]

writes `noise_quiet.json` beside this file: for each round the seconds of a step of each turn, in
the order in which they were measured, and what part of the turn others took. `busy` is the same
while other programs run. About 20 s a round on a quiet machine of two cores.
"""

import json
import os
import sys
import tempfile
from datetime import date
from functools import partial
from pathlib import Path

from hpml.compare.process import started
from hpml.compare.rounds import SIDES, run_round
from hpml.compare.side import SCRIPT, Side
from hpml.system.environment import cpu_name, usable_cores

JOB = Path(__file__).parents[1] / "helpers" / "gated_job.py"
# A step of 20 to 40 ms on one core, half of it waiting for data.
WORDS = (str(JOB), "--base-ms=10", "--width=1024")


def record(name: str, rounds: int) -> Path:
    side = Side("noise", SCRIPT, WORDS, environment=dict(os.environ))
    recorded = []
    with tempfile.TemporaryDirectory() as folder:
        start = {each: partial(started, side, Path(folder, f"{each}.log")) for each in SIDES}
        for number in range(rounds):
            pairs = run_round(start, number, None).pairs
            turns = [turn for pair in pairs for turn in pair.values()]  # in their order
            steps = [turn.figures["step"] for turn in turns]
            lost = [turn.interference.share if turn.interference else 0.0 for turn in turns]
            recorded.append({"step_s": steps, "lost": [round(share, 3) for share in lost]})
            print(f"round {number + 1}/{rounds}: {steps[0]:.4f} s", flush=True)
    about = {"cpu": cpu_name(), "cores": usable_cores(), "date": str(date.today())}
    file = Path(__file__).with_name(f"noise_{name}.json")
    file.write_text(json.dumps({"machine": about, "words": WORDS[1:], "rounds": recorded}) + "\n")
    return file


if __name__ == "__main__":
    print(record(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12))
