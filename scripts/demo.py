"""The second half of `make demo`: what limits a job, what to change, and whether that was right.

    python scripts/demo.py

Each command is printed as one would type it. At the end stands the time of an epoch that the
diagnosis predicted, beside the one that was measured with the change in place.
"""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from statistics import fmean

from hpml.records import RunRecord

JOB = "experiment=slow_loading"
FIX = ("data.encoded=none", "data.pipeline=batched")


def run(folder: Path, program: str, *words: str) -> Path:
    """Runs a program of hpml in a folder of its own; ends this one where that fails."""
    directory = folder / program / ("fixed" if words[1:] else "as_it_is")
    print(f"\n$ python -m hpml.{program} {' '.join(words)}", flush=True)
    command = [sys.executable, "-m", f"hpml.{program}", *words, f"hydra.run.dir={directory}"]
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return directory


def epoch_s(directory: Path) -> float:
    """Mean seconds of the epochs after the first, which pays for what happens once."""
    epochs = RunRecord.read(directory).epochs
    return fmean(epoch.time["epoch_s"] or 0.0 for epoch in epochs[1:])


def main() -> None:
    """Trains a slow job, diagnoses it, changes it, trains it again."""
    outputs = Path(os.environ.get("HPML_OUTPUTS", "outputs"))
    folder = outputs / "demo" / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    before = epoch_s(run(folder, "train", JOB))
    diagnosed = run(folder, "diagnose", JOB, "callbacks=none", "logger=none") / "diagnosis.json"
    (diagnosis,) = json.loads(diagnosed.read_text(encoding="utf-8"))["diagnoses"].values()
    predicted = diagnosis["epoch_s"]["loading_free"]["mean"]
    print(f"\npredicted: {diagnosis['verdict']['evidence']}")
    print(f"the change: decode the images once ({', '.join(FIX)})")
    after = epoch_s(run(folder, "train", JOB, *FIX))
    print(
        f"\nan epoch took {before:.2f} s; predicted with loading free: {predicted:.2f} s; ", end=""
    )
    print(f"measured with the change: {after:.2f} s ({after / predicted - 1:+.0%})")


if __name__ == "__main__":
    main()
