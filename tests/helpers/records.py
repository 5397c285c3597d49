"""Records of runs that never ran, for whoever reads records."""

import random
import socket
from pathlib import Path
from typing import Any

from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord, RunRecord
from hpml.system.interference import Interference

HERE = {"host": socket.gethostname()}
MACHINE = {"host": "a", "cpu": "CPU", "cpu_cores": 2, "accelerators": [], "device": "cpu"}

SHARES = {"epoch_s": 1.0, "data_s": 0.1, "train_s": 0.8, "validation_s": 0.05, "other_s": 0.05}


def make_epoch(number: int = 0, **metrics: float) -> EpochRecord:
    """An epoch of two seconds whose phases are not known."""
    time = dict.fromkeys(TIMES) | {"epoch_s": 2.0}
    return EpochRecord(number, 4, 128, time, 64.0, metrics)


def shared_epoch(wall_s: float, lost_s: float, **changes: Any) -> dict[str, Any]:
    """What an epoch's record says of a machine whose other programs took some of its time."""
    values = {"main_waited_s": lost_s, "threads_waited_s": 0.0, "own_s": 0.0, "load": 2.5}
    values |= {"others_cpu_s": lost_s, "pressure_s": lost_s, "cores": 2}
    return Interference(wall_s, **values | {"lost_s": {"others": lost_s}} | changes).as_dict()


def make_run(
    folder: Path,
    name: str,
    epochs: int = 3,
    epoch_s: float = 2.0,
    accuracy: float = 0.5,
    noise: float = 0.0,
    lost_s: float | None = None,
    **changes: Any,
) -> RunRecord:
    """Writes a completed run whose name is its directory and its overrides: `model=mlp,seed=1`.

    Of its `epoch_s` each epoch lost `lost_s` to other programs; None: nobody looked.
    """
    overrides = name.split(",") if "=" in name else []
    values = dict(override.lstrip("+").split("=", 1) for override in overrides)
    seed = int(values.get("seed", 0))
    generator, made = random.Random(name), []
    for number in range(epochs):
        took_s = epoch_s * (1 + noise * generator.gauss(0, 1)) + (number == 0)
        reached = accuracy * (number + 1) / epochs
        metrics = {"train/loss": 2 - reached, "val/accuracy": reached}
        times = {key: SHARES.get(key, 0.0) * took_s for key in TIMES}
        rate = 1000 / took_s if took_s else None
        made.append(EpochRecord(number, 10, 1000, times, rate, metrics))
        made[-1].interference = None if lost_s is None else shared_epoch(took_s, lost_s)
    leaves: dict[str, Any] = {"seed": seed, "data": {"val_split": 0}, "monitor": "val/accuracy"}
    choices = {key: values.pop(key) for key in ("optimizer", "model") if key in values}
    for key, value in values.items() if "config" not in changes else ():
        *groups, leaf = key.split(".")
        node = leaves
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = int(value) if value.isdigit() else value
    command = f"python -m hpml.train {' '.join(overrides)}".strip()
    fields = {"fingerprint": name, "overrides": overrides, "choices": choices, "config": leaves}
    fields |= {"started_at": "2026-01-01T00:00:00+00:00", "command": command, "epochs": made}
    fields |= {"environment": MACHINE, "status": "completed", "wall_s": 10.0}
    record = RunRecord(**fields | changes)
    directory = folder / name
    directory.mkdir(parents=True)
    record.write(directory)
    return record
