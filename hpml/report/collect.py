"""Finds records under paths, and what varies between them."""

from collections.abc import Sequence
from pathlib import Path

from hpml.records import FILE_NAME, RecordError, RunRecord


def find_records(paths: Sequence[Path]) -> tuple[list[tuple[Path, RunRecord]], list[str]]:
    """The records in and under some paths, in the order of their start, and what cannot be read.

    Returns (directory of the run, record) pairs, and a line for each broken record.
    """
    files: dict[Path, None] = {}
    for path in paths:
        found = [path] if path.is_file() else sorted(path.rglob(FILE_NAME))
        files.update(dict.fromkeys(file.resolve() for file in found))
    records, broken = [], []
    for file in files:
        try:
            records.append((file.parent, RunRecord.read(file)))
        except RecordError as error:
            broken.append(str(error))
    records.sort(key=lambda pair: pair[1].started_at)
    return records, broken


def varying_overrides(records: Sequence[RunRecord]) -> list[str]:
    """For each record, the overrides that not all of them share: `optimizer=adam, seed=1`."""
    shared = set.intersection(*(set(record.overrides) for record in records)) if records else set()
    return [
        ", ".join(override for override in record.overrides if override not in shared)
        for record in records
    ]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
