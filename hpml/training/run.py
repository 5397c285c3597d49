"""The door from a light command to torch and Lightning: a run's fit, or its evaluation."""

from pathlib import Path

from omegaconf import DictConfig

from hpml.records.run_record import RunRecord
from hpml.training.evaluate import evaluate
from hpml.training.fit import fit


def run(cfg: DictConfig, record: RunRecord, directory: Path, last_sign_s: float | None) -> None:
    """Trains, or with `evaluate` evaluates, as `cfg` says; fills in the record."""
    if cfg.evaluate is None:
        fit(cfg, record, directory, last_sign_s)
    else:
        evaluate(cfg, record)
