"""Ledger and report over many runs: their time and memory, each measured in a fresh process.

    python benchmarks/report.py

The runs have 30 epochs and five seeds a setting; they are records that this program makes, with all
that a real one holds. `ledger` is what a sweep reads of its directory before it resumes. Timed are
whole processes, from their start to their end: median (lowest to highest); 10,000 runs once.
"""

import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from harness import Page, interleaved, main, spread

from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord, RunRecord

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
    generator = random.Random(0)
    for number in range(count):
        setting, seed = divmod(number, SEEDS)
        epochs = []
        for epoch in range(EPOCHS):
            parts = [abs(generator.gauss(1, 0.1)) for _ in TIMES[1:]]
            loss, accuracy = generator.random(), generator.random()
            metrics = {"train/loss": loss, "train/accuracy": accuracy, "lr": 0.1}
            epochs.append(
                EpochRecord(
                    epoch,
                    steps=391,
                    samples=50_000,
                    time=dict(zip(TIMES, [sum(parts), *parts], strict=True)),
                    samples_per_s=50_000 / sum(parts),
                    metrics=metrics | {"val/loss": loss, "val/accuracy": accuracy},
                    train_split=dict.fromkeys(("forward_s", "backward_s", "optimizer_s"), 1.0),
                    other_split={f"part {part}": 0.01 for part in range(8)},
                    step_ms=dict.fromkeys(("p50", "p95", "p99", "max"), 10.0),
                )
            )
        overrides = [f"optimizer.lr={setting}", f"seed={seed}"]
        record = RunRecord(
            started_at="2026-01-01T00:00:00+00:00",
            fingerprint=str(number),
            command=f"python -m hpml.train {' '.join(overrides)}",
            overrides=overrides,
            config={"seed": seed, "optimizer": {"lr": setting}, "data": {"val_split": 0}},
            environment={"host": "a", "cpu": "CPU"},
            status="completed",
            epochs=epochs,
            wall_s=100.0,
        )
        directory = folder / ",".join(overrides)
        directory.mkdir(parents=True)
        record.write(directory)


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
