"""Real trainings beside real loops: disturbed epochs are marked, quiet ones are not.

The quiet halves want a machine that nobody else uses.
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from stress.test_interference import busy_loops

from hpml.records.run_record import EpochRecord, RunRecord, read_records

pytestmark = pytest.mark.stress

EPOCHS = 100
SWEEPS = 20
JOB = ["data=synthetic", "model=small", "data.train_samples=1200", "data.test_samples=100"]
JOB += ["device=cpu", "callbacks=none", "logger=none", "trainer.limit_val_batches=0"]
JOB += ["cpu.threads=2"]  # one on each core of the smallest machine


def run(words: list[str], folder: Path) -> str:
    """What a program of hpml prints, as a user starts it: how threads wait is set before torch."""
    environment = os.environ | {"HPML_PROC": "/proc"}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    return done.stdout


def epochs(folder: Path, loops: int) -> list[EpochRecord]:
    """A hundred of them, but for the first, which warms up."""
    folder.mkdir()
    words = ["hpml.train", *JOB, f"trainer.max_epochs={EPOCHS + 1}", "hydra.run.dir=run"]
    with busy_loops(loops):
        run(words, folder)
    return RunRecord.read(folder / "run").epochs[1:]


def marked(epoch: EpochRecord) -> bool:
    seen = epoch.interference or {}
    assert seen["main_waited_s"] is not None  # else nothing could be marked
    return bool(seen["disturbed"])


def is_a_winner(row: str) -> bool:
    return row.startswith("fastest") and "tied" not in row


def test_epochs_that_lost_a_tenth_are_marked(tmp_path: Path) -> None:
    """Of a hundred quiet epochs at most two; of those that lost a tenth, 95 in a hundred."""
    quiet = epochs(tmp_path / "quiet", 0)
    assert sum(map(marked, quiet)) <= 0.02 * EPOCHS
    usual_s = median(epoch.time["epoch_s"] or 0.0 for epoch in quiet)
    for loops in (1, 2):
        beside = epochs(tmp_path / str(loops), loops)
        slowed = [epoch for epoch in beside if (epoch.time["epoch_s"] or 0) > usual_s / 0.9]
        print(f"{loops} loops: {sum(map(marked, slowed))} of {len(slowed)} slowed ones are marked")
        assert len(slowed) >= EPOCHS // 2
        assert sum(map(marked, slowed)) >= 0.95 * len(slowed)


@pytest.mark.parametrize("loops", [0, 2])
def test_no_winner_is_named_where_one_job_was_disturbed(tmp_path: Path, loops: int) -> None:
    """Three equal jobs, loops beside the second: never a fastest, and always the disturbed one."""
    for number in range(SWEEPS):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("a", "b", "c"):
            words = ["hpml.train", *JOB, "trainer.max_epochs=5", f"hydra.run.dir=runs/{name}"]
            words.append(f"label_smoothing={'abc'.index(name) / 1000}")
            with busy_loops(loops if name == "b" else 0):
                run(words, folder)
        records = dict(read_records([folder / "runs"]))
        disturbed = {
            path.name
            for path, record in records.items()
            if isinstance(record, RunRecord) and any(map(marked, record.epochs[1:]))
        }
        output = run(["hpml.report", "runs"], folder)
        assert disturbed == ({"b"} if loops else set())
        assert "disturbed" in output if loops else "disturbed" not in output
        assert not [row for row in output.splitlines() if is_a_winner(row)]
