"""From records to runs: what a comparison needs of each, in little memory."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from hpml.config.fingerprint import identifying
from hpml.records.phases import TIMES
from hpml.records.run_record import (
    LARGEST,
    NOT_A_RECORD,
    EpochRecord,
    RecordError,
    RunRecord,
    read_records,
)
from hpml.system.interference import Interference, summed

ACCURACY = "val/accuracy"
# Measures of a run that stand in its tables, besides its metrics.
MEASURES = ("epoch_s", "steady_epoch_s", *TIMES[1:], "steady_data_s", "samples_per_s")
# The times among them: the first epoch that counts in each.
TIMED_FROM = {"epoch_s": 0, "steady_epoch_s": 1}
NUMBERS = Interference.__dataclass_fields__.keys() - {"lost_s", "gpus"}


@dataclass
class Run:
    directory: Path  # that holds its record
    record: RunRecord
    # of each epoch in the record what it had to share; None where nobody looked
    seen: list[Interference | None] = field(default_factory=list)
    name: str = ""  # among the others

    @property
    def cause(self) -> str:
        return clean(self.record.cause)

    @property
    def completed(self) -> bool:
        return self.record.status == "completed"

    @property
    def seed(self) -> str | None:
        """Of the run; None where its configuration is not known."""
        return json.dumps(self.record.config["seed"]) if "seed" in self.record.config else None

    @cached_property
    def leaves(self) -> dict[str, object]:
        """What identifies the run, by dotted keys."""
        return identifying(self.record.config)

    @cached_property
    def epochs(self) -> list[EpochRecord]:
        """The whole epochs; those that were cut short if there are no others."""
        return [e for e in self.record.epochs if not e.partial] or self.record.epochs

    def seen_from(self, first: int = 0) -> list[Interference]:
        """What its whole epochs from a number on had to share; without those nobody looked at."""
        whole = {id(epoch) for epoch in self.epochs if epoch.epoch >= first}
        pairs = zip(self.record.epochs, self.seen, strict=False)
        return [seen for epoch, seen in pairs if seen is not None and id(epoch) in whole]

    @cached_property
    def interference(self) -> dict[str, Interference | None]:
        """What the epochs of each time in TIMED_FROM had to share; None where nobody looked."""
        return {name: summed(self.seen_from(first)) for name, first in TIMED_FROM.items()}

    @cached_property
    def measures(self) -> dict[str, float | None]:
        """Means over the epochs in seconds, by the names in MEASURES.

        Those called steady leave out the first epoch, which pays for what happens only once; None
        where there is no other.
        """
        later = [epoch for epoch in self.epochs if epoch.epoch > 0]
        means = {name: mean(epoch.time[name] for epoch in self.epochs) for name in TIMES}
        for name in ("epoch_s", "data_s"):
            means[f"steady_{name}"] = mean(epoch.time[name] for epoch in later)
        samples, epoch_s = mean(epoch.samples for epoch in self.epochs), means["epoch_s"]
        return means | {"samples_per_s": samples / epoch_s if samples and epoch_s else None}

    def figure(self, name: str) -> float | None:
        """A measure, or a metric of the last epoch that has it."""
        return self.measures[name] if name in MEASURES else self.record.last_metric(name)


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs in and under some paths, in the order of their start, and what is left out.

    The second is a line for each broken record, and for each copy of a run.
    """
    runs: list[Run] = []
    left_out: list[str] = []
    first: dict[tuple[object, ...], Path] = {}
    for directory, record in read_records(paths):
        if isinstance(record, RecordError):
            left_out.append(clean(str(record)))
            continue
        host = str(record.environment.get("host"))
        identity = (record.fingerprint, record.started_at, record.wall_s, host, record.command)
        if record.fingerprint and first.setdefault(identity, directory) != directory:
            left_out.append(clean(f"{directory}: a copy of {first[identity]}"))
            continue
        try:
            seen = [_seen(epoch.interference) for epoch in record.epochs]
        except NOT_A_RECORD as error:
            left_out.append(clean(f"{directory}: no readable interference ({error})"))
            continue
        for epoch in record.epochs:  # of ten thousand runs these would fill the memory
            epoch.train_split = epoch.other_split = epoch.interference = None
            epoch.step_ms = epoch.step_counts = None
        record.windows = None
        runs.append(Run(directory, record, seen))
    runs.sort(key=lambda run: datetime.fromisoformat(run.record.started_at).timestamp())
    common = os.path.commonpath([run.directory.parent for run in runs] or [Path()])
    for run in runs:  # by the end of their directories' paths, in which they differ
        run.name = clean(str(run.directory.relative_to(common)))
    return runs, left_out


def _seen(values: Any) -> Interference | None:
    """A record's interference; raises one of NOT_A_RECORD where that is of another type."""
    if values is None:
        return None
    seen = Interference.from_dict(values)
    gpus = seen.gpus or []
    others = [getattr(seen, name) for name in values if name in NUMBERS]
    others += [gpu["power_w"] for gpu in gpus]
    known = [value for value in others if value is not None]
    for figure in (seen.wall_s, *seen.lost_s.values(), *known):
        if not (isinstance(figure, int | float) and abs(figure) < LARGEST):
            raise ValueError(f"{figure!r} for a number")
    if not all(isinstance(reason, str) for gpu in gpus for reason in gpu["disturbed_by"]):
        raise TypeError("disturbed_by")
    return seen


def clean(text: str) -> str:
    """Text that any terminal and any file can hold: no control characters, no half characters."""
    text = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return text.encode("utf-8", "backslashreplace").decode()


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is not None; None where nothing is."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def in_words(value: object) -> str:
    """A record's entry on the machine."""
    if isinstance(value, list):
        return clean(" + ".join(map(str, value))) or "none"
    return "none" if value is None else clean(str(value))
