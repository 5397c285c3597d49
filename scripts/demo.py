"""The second half of `make demo`: what limits a job, what to change, and whether that was right.

    python scripts/demo.py [overrides]

The overrides, as `data.train_samples=2500`, are those of every command. Each command is printed as
one would type it. At the end stands the time of an epoch that the diagnosis predicted, beside the
one that was measured with the change in place; or that the machine was too busy for an answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hpml.config.command_line import as_override
from hpml.report.collect import Run, collect
from hpml.report.settings import Setting
from hpml.report.times_in_doubt import is_disturbed, span
from hpml.timing.least_margin import LEAST_MARGIN

JOB = ("experiment=slow_loading", "callbacks=none", "logger=none")
FIX = ("data.encoded=none", "data.pipeline=batched")
TIME = "steady_epoch_s"  # without the first epoch, which pays for what happens once
TOO_BUSY = "the machine was too busy for an answer: {why}; run it again when it is quiet"
# Kinds of verdict by which nothing is predicted, and what they mean.
NO_PREDICTION = {
    "disturbed": "other programs took too much of the trials to tell what limits the job",
    "thread-bound": "the job's own threads and workers wait for one another",
    "inconclusive": "no single cost stands out",
}


def run(directory: Path, program: str, *words: str) -> Path:
    """Runs a program of hpml in a folder; ends this one where that fails."""
    print(f"\n$ python -m hpml.{program} {' '.join(words)}", flush=True)
    in_folder = as_override("hydra.run.dir", str(directory))
    command = [sys.executable, "-m", f"hpml.{program}", *words, in_folder]
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return directory


def trained(directory: Path, *words: str) -> Run:
    (made,), _ = collect([run(directory, "train", *words)])
    return made


def predicted(diagnosis: Mapping[str, Any]) -> tuple[float, float] | None:
    """Seconds of an epoch with loading free, and as it is; None where nothing is predicted."""
    epochs = diagnosis["epoch_s"]
    if diagnosis["verdict"]["kind"] in NO_PREDICTION or "loading_free" not in epochs:
        return None
    return epochs["loading_free"]["mean"], epochs["as_it_is"]["mean"]


def prediction_in_words(diagnosis: Mapping[str, Any]) -> str:
    if (seconds := predicted(diagnosis)) is None:
        verdict = diagnosis["verdict"]
        why = NO_PREDICTION.get(verdict["kind"], "the trial with loading free failed")
        return f"no prediction: {why} ({verdict['kind']}). {verdict['advice']}"
    free, whole = seconds
    return f"prediction: with loading free an epoch takes {free:.2f} s instead of {whole:.2f} s"


def outcome(before: Run, after: Run, prediction: tuple[float, float] | None) -> str:
    """What the change has saved, beside what was `predicted`; nothing that others may have made."""
    spans = [span(Setting({}, [each]), TIME) for each in (before, after)]
    names = {"the job as it is": before, "the changed job": after}
    disturbed = {name: each for name, each in names.items() if is_disturbed(each, TIME)}
    if None in spans:
        return "no epoch after the first was timed: there is nothing to compare"
    first, second = (each for each in spans if each is not None)
    if disturbed:
        seen = {name: each.interference[TIME] for name, each in disturbed.items()}
        why = " and ".join(each.in_words(name) for name, each in seen.items() if each)
        if not (first.is_below(second) or second.is_below(first)):
            return TOO_BUSY.format(why=why)
        word = "less" if second.is_below(first) else "more"
        return f"measured: {word} time an epoch, but how much is not known: {why}"
    saved = 1 - second.time_s / first.time_s
    measured = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'}"
    measured += f" ({second.time_s:.2f} s instead of {first.time_s:.2f} s)"
    if prediction is None:
        return f"measured: {measured}"
    saving = 1 - prediction[0] / prediction[1]
    words = f"predicted: at most {saving:.0%} less time an epoch; measured: {measured}"
    return words + "; the prediction does not hold here" * (saved > saving + LEAST_MARGIN)


def main() -> None:
    """Trains a slow job, diagnoses it, changes it, trains it again."""
    outputs = Path(os.environ.get("HPML_OUTPUTS", "outputs"))
    folder = outputs / "demo" / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    job = (*JOB, *sys.argv[1:])
    before = trained(folder / "as_it_is", *job)
    diagnosed = run(folder / "diagnosis", "diagnose", *job) / "diagnosis.json"
    (diagnosis,) = json.loads(diagnosed.read_text(encoding="utf-8"))["diagnoses"].values()
    print(f"\n{prediction_in_words(diagnosis)}")
    print(f"the change: the images decoded once, whole batches at a time: {' '.join(FIX)}")
    after = trained(folder / "changed", *job, *FIX)
    print(f"\n{outcome(before, after, predicted(diagnosis))}")
    print(f"records: {folder}")


if __name__ == "__main__":
    main()
