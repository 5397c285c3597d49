"""Ledger and report over many runs: their time and memory, each measured in a fresh process.

    python benchmarks/report.py

The runs have 30 epochs and five seeds a setting; they are records that this program makes, with all
that a real one holds, the whole configuration too. `ledger` is what a sweep reads of its directory
before it resumes. Timed are whole processes, from their start to their end: median (lowest to
highest); 10,000 runs once.
"""

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from harness import Page, configured, interleaved, main, spread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.records import make_run

from hpml.config.conf import resolve

EPOCHS, SEEDS = 30, 5
RUNS = (5, 1000, 10_000)
MANY = 10_000  # so many take their time: once is enough
MEASURED = """import resource, sys
from pathlib import Path
{code}
print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
CODE = {
    "ledger": "from hpml.sweep.ledger import Ledger; Ledger(Path(sys.argv[1]))",
    "report": "sys.argv = ['report', *sys.argv[1:], '--output', sys.argv[1] + '-report'];"
    "from hpml.report.__main__ import main; main()",
}


def make(folder: Path, count: int) -> None:
    """Settings of five seeds each."""
    config = resolve(configured())
    for number in range(count):
        setting, seed = divmod(number, SEEDS)
        name = f"optimizer.lr={setting},seed={seed}"
        own: dict[str, Any] = {"seed": seed, "run_dir": str(folder / name)}
        own |= {"optimizer": config["optimizer"] | {"lr": setting}}
        own |= {"data": config["data"] | {"seed": seed}}
        record = make_run(folder, name, epochs=EPOCHS, noise=0.1, config=config | own)
        for epoch in record.epochs:
            epoch.train_split = dict.fromkeys(("forward_s", "backward_s", "optimizer_s"), 0.1)
            epoch.other_split = {f"part {part}": 0.01 for part in range(8)}
            epoch.step_ms = dict.fromkeys(("p50", "p95", "p99", "max"), 10.0)
        record.write(folder / name)


def process(what: str, folder: Path) -> dict[str, float]:
    """Seconds of a fresh process, and the most memory it had."""
    command = [sys.executable, "-c", MEASURED.format(code=CODE[what]), str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory_mb": int(done.stdout.split()[-1]) * 1024 / 1e6}


def measure(rounds: int = 5, most: int = MANY) -> Page:
    """Ledger and report of so many runs, in turn."""
    rows = [["runs", "what", "seconds", "memory (MB)"]]
    figures = {}
    with tempfile.TemporaryDirectory() as top:
        for count in (count for count in RUNS if count <= most):
            folder = Path(top, str(count))
            make(folder, count)
            cases = {what: partial(process, what, folder) for what in CODE}
            seen = interleaved(cases, 1 if count >= MANY else rounds, warm_up=0)
            for what, of in seen.items():
                figures[f"{what}|{count}"] = of
                shown = [spread(of["seconds"], ".2f"), spread(of["memory_mb"])]
                rows.append([f"{count:,}", what, *shown])
    return Page([rows], figures)


if __name__ == "__main__":
    main(measure, rounds=1, most=5)
