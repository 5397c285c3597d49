"""From records to runs: what a comparison needs of each, in little memory."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hpml.records.phases import TIMES
from hpml.records.record_decoder import Shared, read_brief
from hpml.records.run_record import (
    LARGEST,
    NOT_A_RECORD,
    EpochRecord,
    RecordError,
    RunRecord,
    read_records,
)
from hpml.report.lean_record import Columns, Common, Leaves, columns_of, lean, pack, unpack
from hpml.system.interference import Interference, summed

ACCURACY = "val/accuracy"
# Measures of a run that stand in its tables, besides its metrics.
MEASURES = ("epoch_s", "steady_epoch_s", *TIMES[1:], "steady_data_s", "samples_per_s")
# The times among them: the first epoch that counts in each.
TIMED_FROM = {"epoch_s": 0, "steady_epoch_s": 1}
NUMBERS = Interference.__dataclass_fields__.keys() - {"lost_s", "gpus"}
_values = attrgetter(*Interference.__dataclass_fields__)


@dataclass
class Run:
    directory: Path  # that holds its record
    record: RunRecord
    name: str = ""  # among the others
    # of each epoch in the record what it had to share; None where nobody looked
    packed_seen: Any = b""
    common: Common = field(default_factory=Common, repr=False)

    @property
    def cause(self) -> str:
        return clean(self.record.cause)

    @property
    def completed(self) -> bool:
        return self.record.status == "completed"

    @cached_property
    def seed(self) -> str | None:
        """Of the run; None where its configuration is not known."""
        return json.dumps(self.record.config["seed"]) if "seed" in self.record.config else None

    @cached_property
    def leaves(self) -> Leaves:
        """What identifies the run, by dotted keys."""
        return Leaves(self.record.config, self.common)

    @property
    def columns(self) -> Columns:
        """The figures of all epochs in its record."""
        return columns_of(self.record)

    @property
    def epochs(self) -> list[EpochRecord]:
        """The whole epochs; those that were cut short if there are no others."""
        epochs = self.record.epochs
        return [epoch for epoch in epochs if not epoch.partial] or epochs

    @property
    def seen(self) -> list[Interference | None]:
        """Of each epoch in the record what it had to share; None where nobody looked."""
        if not self.packed_seen:
            return [None] * self.facts.recorded
        each = unpack(self.packed_seen)
        return [None if values is None else Interference(*values) for values in each]

    def seen_from(self, first: int = 0) -> list[Interference]:
        """What its whole epochs from a number on had to share; without those nobody looked at."""
        if not self.packed_seen:
            return []
        columns = self.columns
        cut_short = all(columns.partial)
        return [
            seen
            for number, partial, seen in zip(columns.epoch, columns.partial, self.seen, strict=True)
            if seen is not None and number >= first and (cut_short or not partial)
        ]

    @cached_property
    def interference(self) -> dict[str, Interference | None]:
        """What the epochs of each time in TIMED_FROM had to share; None where nobody looked."""
        return {name: summed(self.seen_from(first)) for name, first in TIMED_FROM.items()}

    @cached_property
    def facts(self) -> "Facts":
        return Facts.of(self.columns)

    @property
    def measures(self) -> dict[str, float | None]:
        """Means over the epochs in seconds, by the names in MEASURES.

        Those called steady leave out the first epoch, which pays for what happens only once; None
        where there is no other.
        """
        return self.facts.measures

    def figure(self, name: str) -> float | None:
        """A measure, or a metric of the last epoch that has it."""
        return self.measures[name] if name in MEASURES else self.facts.last.get(name)


class Facts(NamedTuple):
    """What of a run's epochs is asked for often: means, last metrics, how many there are."""

    measures: dict[str, float | None]
    last: dict[str, float | None]
    whole: int
    recorded: int
    best: float  # accuracy of any epoch

    @classmethod
    def of(cls, columns: Columns) -> "Facts":
        whole = columns.whole
        means = {name: mean(whole.time[name]) for name in TIMES}
        later = [place for place, epoch in enumerate(whole.epoch) if epoch > 0]
        for name in ("epoch_s", "data_s"):
            column = whole.time[name]
            means[f"steady_{name}"] = mean([column[place] for place in later])
        samples, epoch_s = mean(whole.samples), means["epoch_s"]
        means["samples_per_s"] = samples / epoch_s if samples and epoch_s else None
        last = {
            name: next((value for value in reversed(column) if value is not None), None)
            for name, column in columns.metrics.items()
        }
        best = max((value or 0.0 for value in columns.metrics.get(ACCURACY, ())), default=0.0)
        return cls(means, last, len(whole.epoch), len(columns.epoch), best)


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs in and under some paths, in the order of their start, and what is left out.

    The second is a line for each broken record, and for each copy of a run.
    """
    runs: list[Run] = []
    left_out: list[str] = []
    first: dict[tuple[object, ...], Path] = {}
    common = Common()
    for directory, record in read_records(paths, read_brief):
        if isinstance(record, RecordError):
            left_out.append(clean(str(record)))
            continue
        host = str(record.environment.get("host"))
        identity = (record.fingerprint, record.started_at, record.wall_s, host, record.command)
        if record.fingerprint and first.setdefault(identity, directory) != directory:
            left_out.append(clean(f"{directory}: a copy of {first[identity]}"))
            continue
        try:
            seen = _packed(record.epochs)
        except NOT_A_RECORD as error:
            left_out.append(clean(f"{directory}: no readable interference ({error})"))
            continue
        runs.append(Run(directory, lean(record, common), packed_seen=seen, common=common))
    runs.sort(key=lambda run: datetime.fromisoformat(run.record.started_at).timestamp())
    common_path = os.path.commonpath([run.directory.parent for run in runs] or [Path()])
    for run in runs:  # by the end of their directories' paths, in which they differ
        run.name = clean(str(run.directory).removeprefix(common_path).lstrip(os.sep))
    return runs, left_out


def _packed(epochs: Sequence[EpochRecord]) -> Any:
    """What each had to share; nothing where nobody looked at any of them."""
    every = [_seen(epoch.interference) for epoch in epochs]
    if not any(every):
        return b""
    return pack([None if seen is None else _values(seen) for seen in every])


def _seen(values: Any) -> Interference | None:
    """A record's interference; raises one of NOT_A_RECORD where that is of another type."""
    if values is None:
        return None
    if isinstance(values, Shared):
        seen = Interference(*msgspec.structs.astuple(values))
    else:
        seen = Interference.from_dict(values)
    gpus = seen.gpus or []
    others = [getattr(seen, name) for name in NUMBERS]
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
    if text.isprintable():  # nearly all is
        return text
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
