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

from hpml.config.command_line import as_override
from hpml.records.run_record import RunRecord

JOB = ("experiment=slow_loading", "callbacks=none", "logger=none")
FIX = ("data.encoded=none", "data.pipeline=batched")


def run(directory: Path, program: str, *words: str) -> Path:
    """Runs a program of hpml in a folder; ends this one where that fails."""
    print(f"\n$ python -m hpml.{program} {' '.join(words)}", flush=True)
    in_folder = as_override("hydra.run.dir", str(directory))
    command = [sys.executable, "-m", f"hpml.{program}", *words, in_folder]
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
    before = epoch_s(run(folder / "as_it_is", "train", *JOB))
    diagnosed = run(folder / "diagnosis", "diagnose", *JOB) / "diagnosis.json"
    (diagnosis,) = json.loads(diagnosed.read_text(encoding="utf-8"))["diagnoses"].values()
    epochs = diagnosis["epoch_s"]
    whole, free = (epochs[trial]["mean"] for trial in ("as_it_is", "loading_free"))
    print(f"\nprediction: with loading free an epoch takes {free:.2f} s instead of {whole:.2f} s")
    print(f"the change: the images decoded once, whole batches at a time: {' '.join(FIX)}")
    after = epoch_s(run(folder / "changed", "train", *JOB, *FIX))
    saved = 1 - after / before  # below zero where something else has taken the machine meanwhile
    print(
        f"\npredicted: at most {1 - free / whole:.0%} less time an epoch; measured: "
        f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'} "
        f"({after:.2f} s instead of {before:.2f} s)"
    )
    print(f"records: {folder}")


if __name__ == "__main__":
    main()
