"""How long jobs take and how much disk they fill, judged by those that are like them."""

import json
import socket
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpml.formatting import duration_in_words, size_in_words
from hpml.records.run_record import FILE_NAME, RunRecord
from hpml.sweep.jobs import Job
from hpml.system.files import size_of

# Earlier runs that are looked at: the newest of these.
MOST_RECORDS = 200
# What an epoch's time depends on, most of all. Not optimizers, which differ by little.
OF_COST = ("data", "model", "device", "compile", "channels_last", "evaluate")
OF_TRAINER = (
    *("devices", "precision", "limit_train_batches", "limit_val_batches", "max_steps"),
    *("max_time", "fast_dev_run", "overfit_batches"),
)
# Where data lies and how its reading is checked.
NOT_OF_DATA = ("root", "seed", "download", "verify", "num_workers", "persistent_workers")


class Means:
    """Running means of some figures: a sweep of thousands asks for them before each job."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: list[float] = []

    def add(self, *figures: float) -> None:
        sums = self._sums or [0.0] * len(figures)
        self._sums = [total + figure for total, figure in zip(sums, figures, strict=True)]
        self.count += 1

    def means(self) -> list[float]:
        return [total / self.count for total in self._sums]


class CostModel:
    """Learns from each completed run; jobs that are alike take as long, by their epochs."""

    def __init__(self) -> None:
        self._by_setting: dict[tuple[str, ...], Means] = defaultdict(Means)  # seconds in all
        # seconds around the epochs, seconds an epoch, bytes
        self._of_this_sweep = Means()
        self._by_cost_key: dict[str, Means] = defaultdict(Means)

    def learn_from_earlier(self, output_dir: Path) -> None:
        """From the newest runs and sweeps under an output directory, of this host."""
        dated = []
        for kind in ("runs", "sweeps"):
            for file in output_dir.glob(f"{kind}/*/*/{FILE_NAME}"):
                with suppress(OSError):  # another sweep clears its folders
                    dated.append((file.stat().st_mtime, file))
        for _, file in sorted(dated, reverse=True)[:MOST_RECORDS]:
            record = RunRecord.read_if_any(file)
            if record is not None and record.environment.get("host") == socket.gethostname():
                self.learn(file.parent, record)

    def learn(
        self, directory: Path, record: RunRecord, job: Job | None = None, took_s: float = 0.0
    ) -> None:
        """From a run, if it is complete; from a job of this sweep, with what it took in all."""
        epochs = len(record.epochs)
        if record.status != "completed" or record.wall_s is None or not epochs:
            return
        epochs_s = sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs)
        facts = (max(record.wall_s, took_s) - epochs_s, epochs_s / epochs, size_of(directory))
        self._by_cost_key[cost_key(record.config)].add(*facts)
        if job is not None:
            self._by_setting[job.setting].add(took_s)
            self._of_this_sweep.add(*facts)

    def of(self, jobs: Sequence[Job], at_once: int = 1) -> tuple[float, float] | None:
        """Seconds and bytes for some jobs; None where nothing like any of them is known."""
        costs = [cost for job in jobs if (cost := self._of_job(job)) is not None]
        if not costs:
            return None
        seconds, size = (len(jobs) * sum(each) / len(costs) for each in zip(*costs, strict=True))
        return seconds / at_once, size

    def in_words(self, jobs: Sequence[Job], at_once: int = 1) -> str | None:
        """Time and disk: `about 7 min and 31 MB`; None where nothing is known."""
        cost = self.of(jobs, at_once)
        return f"{duration_in_words(cost[0])} and {size_in_words(cost[1])}" if cost else None

    def _of_job(self, job: Job) -> tuple[float, float] | None:
        like = self._by_cost_key.get(job.cost_key) or self._of_this_sweep
        if not like.count or job.epochs is None:
            return None
        around_s, epoch_s, size = like.means()
        own = self._by_setting.get(job.setting)
        return own.means()[0] if own else around_s + epoch_s * job.epochs, size


def cost_key(config: dict[str, Any]) -> str:
    """The part of a resolved configuration by which runs take about the same time."""
    part: dict[str, Any] = {key: config.get(key) for key in OF_COST}
    if isinstance(part["data"], dict):
        part["data"] = {k: v for k, v in part["data"].items() if k not in NOT_OF_DATA}
    trainer = config.get("trainer") or {}
    part["trainer"] = {key: trainer.get(key) for key in OF_TRAINER}
    return json.dumps(part, sort_keys=True, default=str)
