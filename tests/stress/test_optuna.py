"""A study by Optuna over real trainings, of which some do not come to their end.

Needs `pip install hydra-optuna-sweeper 'sqlalchemy<2' 'alembic<1.20'`, which may lie in a folder of
its own that PYTHONPATH names.
"""

import csv
import signal
from pathlib import Path

import pytest
from helpers.configurations import TINY
from helpers.programs import Program
from omegaconf import OmegaConf

from hpml.records.run_record import RunRecord

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1200)]

SWEEP = Path("outputs", "sweeps", "s")
STUDY = ["hydra/sweeper=optuna", "hydra.sweeper.direction=minimize", "hydra.sweeper.n_jobs=1"]
STUDY += ["hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.seed=6", "monitor=val/loss"]
# With this rate the weights leave what float32 holds: hpml's own guard ends the job.
DIVERGES, KILLED, INTERRUPTED = 1e36, 0.02, 0.03
FINE = 0.01
MINE = """
import os, signal, time
import lightning as L

class Ends(L.Callback):
    '''Ends its process as its learning rate says, after its first epoch.'''
    def __init__(self, lr):
        self.number = {0.02: signal.SIGKILL, 0.03: signal.SIGTERM}.get(lr)

    def on_train_epoch_end(self, trainer, module):
        if self.number is not None:
            os.kill(os.getpid(), self.number)
            time.sleep(0.1)
"""


def test_a_study_with_trials_that_diverge_are_killed_and_interrupted(tmp_path: Path) -> None:
    """It goes on to its end: best value, report, table and last line are of what became of each."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    (tmp_path / "mine.py").write_text(MINE)
    rates = f"optimizer.lr={DIVERGES},{KILLED},{INTERRUPTED},{FINE}"
    ends = ["+callbacks.ends._target_=mine.Ends", "+callbacks.ends.lr=${optimizer.lr}"]
    words = [*TINY, "callbacks=default", "callbacks.progress_bar=null", *ends, rates, *STUDY]
    study = Program(["-m", "hpml.train", "-m", "sweep.name=s", *words], tmp_path)
    stdout, stderr = study.communicate(timeout=1000)
    assert study.returncode == 1
    assert "Traceback" not in stdout + stderr
    records = [RunRecord.read(file) for file in (tmp_path / SWEEP).rglob("record.json")]
    ended = {record.config["optimizer"]["lr"]: record for record in records}
    assert {lr: record.status for lr, record in ended.items()} == {
        **{DIVERGES: "failed", KILLED: "failed"},
        **{INTERRUPTED: "interrupted", FINE: "completed"},
    }
    assert ended[DIVERGES].cause.startswith("train/loss is not finite in epoch 0, step ")
    assert ended[KILLED].cause == "killed by SIGKILL"
    best = OmegaConf.load(tmp_path / SWEEP / "optimization_results.yaml")
    assert best.best_params["optimizer.lr"] == FINE
    assert best.best_value == ended[FINE].last_metric("val/loss")
    *_, last = stderr.splitlines()
    assert last.startswith("failed: 3 jobs: ")
    with (tmp_path / SWEEP / "runs.csv").open() as file:
        told = {float(row["optimizer.lr"]): row["status"] for row in csv.DictReader(file)}
    assert told == {lr: record.status for lr, record in ended.items()}
    page = (tmp_path / SWEEP / "report.html").read_text()
    assert "is not finite" in page
    assert "killed by SIGKILL" in page
    assert signal.SIGTERM.name in page
    assert (tmp_path / SWEEP / "learning.svg").exists()
