"""Ledger and report over many runs: their time and memory, each measured in a fresh process.

The runs have 30 epochs; they are records that this program makes, with all that a real one holds.
`ledger` is what a sweep reads of its directory before it goes on.
"""

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import spread, write

from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord, RunRecord

RUNS, EPOCHS, ROUNDS, SEEDS = (5, 1000, 10_000), 30, 5, 5
CODE = {
    "ledger": "from hpml.sweep.ledger import Ledger; Ledger(Path(sys.argv[1]))",
    "report": "sys.argv = ['report', *sys.argv[1:], '--output', sys.argv[1] + '-report'];"
    "from hpml.report.__main__ import main; main()",
}


def make(folder: Path, count: int) -> None:
    """Settings of five seeds each."""
    generator = random.Random(0)
    for number in range(count):
        workers, seed = divmod(number, SEEDS)
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
        record = RunRecord(
            started_at="2026-01-01T00:00:00+00:00",
            fingerprint=str(number),
            command=f"python -m hpml.train optimizer.lr={workers} seed={seed}",
            overrides=[f"optimizer.lr={workers}", f"seed={seed}"],
            config={"seed": seed, "optimizer": {"lr": workers}, "data": {"val_split": 0}},
            environment={"host": "a", "cpu": "CPU"},
            status="completed",
            epochs=epochs,
            wall_s=100.0,
        )
        directory = folder / f"optimizer.lr={workers},seed={seed}"
        directory.mkdir(parents=True)
        (directory / "record.json").write_text(record._as_json(indent=1))


def measure(what: str, folder: Path) -> tuple[float, float]:
    """Seconds of a fresh process, and the most memory it had, in MB."""
    code = f"import resource, sys; from pathlib import Path; {CODE[what]}"
    started = time.perf_counter()
    peak = f"{code}\nprint('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", peak, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, int(done.stdout.split()[-1]) * 1024 / 1e6


def main() -> None:
    """Measures all and writes it down."""
    rows = [["runs", "what", "seconds", "memory (MB)"]]
    figures = {}
    top = Path(tempfile.mkdtemp())
    try:
        for count in RUNS:
            folder = top / str(count)
            make(folder, count)
            for what in CODE:
                seen = [measure(what, folder) for _ in range(ROUNDS if count < 10_000 else 1)]
                seconds, memory = ([one[part] for one in seen] for part in (0, 1))
                figures[f"{what}|{count}"] = {"seconds": seconds, "memory_mb": memory}
                middle = f"{statistics.median(memory):,.0f}"
                rows.append([f"{count:,}", what, spread(seconds, ".2f"), middle])
                print(rows[-1], flush=True)
    finally:
        shutil.rmtree(top)
    told = (
        f"Runs of {EPOCHS} epochs, {SEEDS} seeds a setting. Whole processes, from their start to "
        f"their end: median (lowest to highest) of {ROUNDS}; 10,000 runs once."
    )
    write("report", "Ledger and report over many runs", told, rows, figures)


if __name__ == "__main__":
    main()
