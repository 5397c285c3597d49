"""Runs all that benchmarks/README.md lists for a GPU, in at most ten minutes.

    python scripts/gpu_benchmarks.py data=cifar10 data.root=$HOME/data
    python scripts/gpu_benchmarks.py --quick          # on the CPU: whether each part runs

Each part is a benchmark with fewer rounds than by itself. Its page and its figures, named by the
device, go into `--results`. A part may take its share of the time and what those before it have
left; then it is ended. What failed, was ended or not begun is listed with its command, and the exit
code is 1. The words given are those of `benchmarks/accuracy.py`.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MINUTES = 10.0
# A part, and its share of the time.
PARTS = {
    "device_clock.py --batches 20": 0.1,  # of which it sleeps 16 s
    "accuracy.py --experiments cifar26 cifar80 --seeds 1": 0.46,
    "speed.py --device gpu --batch-size 512 --images 12800 --rounds 1 --warm-up 0": 0.22,
    "speed.py --device gpu --images 12800 --rounds 1 --warm-up 0": 0.22,
    "growth.py --device gpu --model resnet18 --quick": 0.0,  # what is left
}
# On the CPU, at small size.
QUICK = {
    "accuracy.py --quick --experiments cifar26 --seeds 1 data=synthetic data.image_size=16": 0.15,
    "speed.py --quick": 0.5,
    "growth.py --quick": 0.35,
}


def commands(words: list[str], quick: bool) -> dict[str, float]:
    """The parts' command lines, each with its share of the time."""
    if quick:
        return QUICK
    given = shlex.join(words)
    return {f"{p} {given}" if p.startswith("accuracy") else p: of for p, of in PARTS.items()}


def failed(parts: dict[str, float], results: Path, seconds: float) -> Iterator[str]:
    """Runs each part; yields the command and what became of it where that is not good."""
    begun_s, shares = time.monotonic(), 0.0
    for part, share in parts.items():
        shares += share
        left_s = seconds * shares - (time.monotonic() - begun_s)
        if left_s < 1:
            yield f"python benchmarks/{part}: not begun, for no time was left"
            continue
        name, *options = shlex.split(part)
        command = [sys.executable, str(BENCHMARKS / name), *options, "--results", str(results)]
        print(f"\n{part}: at most {left_s:.0f} s", flush=True)
        try:
            code = subprocess.run(command, timeout=left_s).returncode
        except subprocess.TimeoutExpired:
            yield f"python benchmarks/{part}: ended after its {left_s:.0f} s"
            continue
        if code:
            yield f"python benchmarks/{part}: exit code {code}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="for accuracy.py")
    parser.add_argument("--results", type=Path, help="by default benchmarks/results")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"by default {MINUTES:g}")
    parser.add_argument("--quick", action="store_true", help="on the CPU, at small size")
    given = parser.parse_intermixed_args()
    begun_s = time.monotonic()
    parts = commands(given.words, given.quick)
    kept = BENCHMARKS / "results"
    with tempfile.TemporaryDirectory() as thrown_away:
        results = given.results or (Path(thrown_away) if given.quick else kept)
        bad = list(failed(parts, results, 60 * given.minutes))
    minutes = (time.monotonic() - begun_s) / 60
    where = "nothing is kept" if given.quick and not given.results else results
    print(f"\n{len(parts) - len(bad)} of {len(parts)} parts in {minutes:.1f} min: {where}")
    for line in bad:
        print(f"not done: {line}", file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
