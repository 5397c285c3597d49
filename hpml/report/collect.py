"""Finds records under paths, and what varies between them."""

from collections.abc import Sequence

from hpml.records import RunRecord


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
