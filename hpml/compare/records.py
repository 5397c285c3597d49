"""Two sets of records that were made before: compared unpaired, and on like hardware alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from scipy.special import stdtrit

from hpml.compare.answer import Answer, Outcome
from hpml.compare.question import Metric, Question, geometric_mean
from hpml.errors import UserError
from hpml.formatting import counted
from hpml.records.phases import PHASES
from hpml.records.run_record import EpochRecord, RunRecord, read_records
from hpml.statistics import LEVEL, AnytimeEstimate

HARDWARE = {"cpu": "CPU", "cpu_cores": "cores", "accelerators": "accelerators"}
NOTE = (
    "from records: runs of each side, one after the other, are not paired; what the machine did "
    "meanwhile is in the difference"
)


def of_records(
    before: Sequence[Path],
    after: Sequence[Path],
    names: Mapping[str, str],
    questions: Sequence[Question],
    undecided_passes: bool = False,
) -> Answer:
    """Raises UserError where they hold nothing to compare, or come from unlike hardware."""
    sides = [
        _completed(paths, name) for paths, name in zip((before, after), names.values(), strict=True)
    ]
    _check_hardware(*sides)
    outcomes = [_outcome(question, sides, len(questions)) for question in questions]
    counts = " and ".join(counted(len(side), "run") for side in sides)
    why = f"{counts} are too few, or vary too much"
    unknown = [each.question.metric.name for each in outcomes if None in each.figures]
    if unknown:
        raise UserError(f"--of={unknown[0]}: these records do not have it")
    disturbed = sum(_is_disturbed(record) for side in sides for record in side)
    notes = [NOTE]
    if disturbed:
        notes.append(
            f"{counted(disturbed, 'run')} disturbed by others: ask again on a quiet machine"
        )
    return Answer(
        names,
        outcomes,
        notes=notes,
        why_undecided=why,
        undecided_passes=undecided_passes,
        facts={"environment": sides[1][-1].environment, "commits": _commits(sides, names)},
    )


def _completed(paths: Sequence[Path], name: str) -> list[RunRecord]:
    records = [each for _, each in read_records(paths) if isinstance(each, RunRecord)]
    whole = [each for each in records if each.status == "completed" and _steady(each)]
    if not whole:
        raise UserError(f"{name}: holds no record of a completed run with epochs")
    return whole


def _check_hardware(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> None:
    for key, title in HARDWARE.items():
        kinds = {str(record.environment.get(key)) for record in (*before, *after)}
        if len(kinds) > 1:
            shown = " and ".join(sorted(kinds))
            raise UserError(
                f"{title}: the records are of {shown}; absolute times of unlike machines are not "
                "compared; run both on one"
            )


def _outcome(question: Question, sides: Sequence[Sequence[RunRecord]], among: int) -> Outcome:
    values = [
        [value for record in side if (value := _value(record, question.metric)) is not None]
        for side in sides
    ]
    figures = [geometric_mean(side) if side else None for side in values]
    logarithms = [[math.log(max(value, 1e-12)) for value in side] for side in values]
    ratio = welch_interval(logarithms[0], logarithms[1], among) if all(values) else None
    return Outcome(question, ratio, (figures[0], figures[1]))


def welch_interval(
    before: Sequence[float], after: Sequence[float], questions: int
) -> AnytimeEstimate:
    """By how much the mean after is larger; without a width where one side has a single value.

    Source: Welch (1947), as in `hpml.statistics`.
    """
    mean, n = fmean(after) - fmean(before), len(before) + len(after)
    if min(len(before), len(after)) < 2:
        return AnytimeEstimate(mean, None, n)
    parts = [(stdev(values) ** 2 / len(values), len(values) - 1) for values in (before, after)]
    variance = sum(part for part, _ in parts)
    squares = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / squares if squares else 1.0
    quantile = float(stdtrit(freedom, 1 - LEVEL / questions / 2))
    return AnytimeEstimate(mean, quantile * math.sqrt(variance), n)


def _value(record: RunRecord, metric: Metric) -> float | None:
    """A run's mean over its steady epochs, of a step where it is a time of steps."""
    if metric.name == "startup":
        return record.startup_s
    epochs = _steady(record)
    if metric.name == "memory":
        peaks = [each.peak_memory_mib for each in epochs if each.peak_memory_mib is not None]
        return max(peaks, default=None)
    values = [_of_epoch(epoch, metric) for epoch in epochs]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _of_epoch(epoch: EpochRecord, metric: Metric) -> float | None:
    whole_s = (epoch.time["epoch_s"] or 0.0) - (epoch.time["validation_s"] or 0.0)
    phases = {phase.name: epoch.time[phase.key] for phase in PHASES}
    if metric.name in phases:
        seconds = phases[metric.name]
        return None if seconds is None or not epoch.steps else seconds / epoch.steps
    parts = {"epoch": 1, "step": epoch.steps, "samples": epoch.samples}
    part = parts.get(metric.name)
    return whole_s / part if part else None


def _steady(record: RunRecord) -> list[EpochRecord]:
    """Whole epochs after the first, or the first where it is the only one."""
    whole = [each for each in record.epochs if not each.partial and each.time["epoch_s"]]
    return whole[1:] or whole


def _is_disturbed(record: RunRecord) -> bool:
    return any((epoch.interference or {}).get("disturbed") for epoch in _steady(record))


def _commits(
    sides: Sequence[Sequence[RunRecord]], names: Mapping[str, str]
) -> dict[str, str | None]:
    """Of each side, where its runs agree."""
    found = {}
    for side, records in zip(names, sides, strict=True):
        every = {record.environment.get("git_commit") for record in records}
        found[side] = every.pop() if len(every) == 1 else None
    return found
