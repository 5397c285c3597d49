"""Records of runs that never ran, for whoever reads records."""

import random
from pathlib import Path
from typing import Any

from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord, RunRecord

MACHINE = {"host": "a", "cpu": "CPU", "cpu_cores": 2, "accelerators": [], "device": "cpu"}

SHARES = {"epoch_s": 1.0, "data_s": 0.1, "train_s": 0.8, "validation_s": 0.05, "other_s": 0.05}


def make_epoch(number: int = 0, **metrics: float) -> EpochRecord:
    """An epoch of two seconds whose phases are not known."""
    time = dict.fromkeys(TIMES) | {"epoch_s": 2.0}
    return EpochRecord(number, 4, 128, time, 64.0, metrics)


def make_run(folder: Path, name: str, **changes: Any) -> RunRecord:
    """Writes a completed run of `epochs` epochs of `epoch_s` seconds with an `accuracy`.

    The name is that of its directory, and its overrides: `optimizer=adam,seed=1`.
    """
    overrides = name.split(",") if "=" in name else []
    values = dict(override.lstrip("+").split("=", 1) for override in overrides)
    seed = int(values.get("seed", 0))
    settings = {"epochs": 3, "epoch_s": 2.0, "accuracy": 0.5, "noise": 0.0} | changes
    generator = random.Random(name)
    count, mean_s, accuracy, noise = map(settings.pop, ("epochs", "epoch_s", "accuracy", "noise"))
    epochs = []
    for number in range(count):
        epoch_s = mean_s * (1 + noise * generator.gauss(0, 1)) + (number == 0)
        reached = accuracy * (number + 1) / count
        metrics = {"train/loss": 2 - reached, "val/accuracy": reached}
        rate = 1000 / epoch_s if epoch_s else None
        times = {name: SHARES.get(name, 0.0) * epoch_s for name in TIMES}
        epochs.append(EpochRecord(number, 10, 1000, times, rate, metrics))
    leaves: dict[str, Any] = {"seed": seed, "data": {"val_split": 0}, "monitor": "val/accuracy"}
    choices = {key: values.pop(key) for key in ("optimizer", "model") if key in values}
    for key, value in values.items() if "config" not in changes else ():
        *groups, leaf = key.split(".")
        node = leaves
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = int(value) if value.isdigit() else value
    fields: dict[str, Any] = {
        "started_at": "2026-01-01T00:00:00+00:00",
        "fingerprint": name,
        "command": f"python -m hpml.train {' '.join(overrides)}".strip(),
        "overrides": overrides,
        "choices": choices,
        "config": leaves,
        "environment": MACHINE,
        "status": "completed",
        "epochs": epochs,
        "wall_s": 10.0,
    }
    record = RunRecord(**(fields | settings))
    directory = folder / name
    directory.mkdir(parents=True)
    record.write(directory)
    return record
