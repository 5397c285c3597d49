"""Two sets of records that were made before: compared unpaired, and on like hardware alone."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hpml.compare.answer import Answer, Outcome
from hpml.compare.question import METRICS, Metric, Question
from hpml.compare.rounds import LEAST_PHASE, PHASE_NAMES
from hpml.compare.verdict import FEWEST_ROUNDS, LEAST_DEVIATION, geometric_mean
from hpml.config.fingerprint import SHOWN, identifying
from hpml.errors import UserError
from hpml.formatting import counted, listed
from hpml.records.phases import OTHER, PHASES
from hpml.records.run_record import EpochRecord, RunRecord, read_records
from hpml.statistics import LEVEL, AnytimeEstimate, stdev, students_quantile, welch

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
    for side, name in zip(sides, names.values(), strict=True):
        _check_one_setting(side, name)
    _check_hardware(*sides)
    _check_known(questions, sides)
    clean = [[record for record in side if not _is_disturbed(record)] for side in sides]
    outcomes = [_outcome(question, sides, clean, len(questions)) for question in questions]
    counts = " and ".join(counted(len(side), "run") for side in clean)
    why = f"{counts} are too few, or vary too much"
    every = sum(map(len, sides))
    disturbed = every - sum(map(len, clean))
    notes = [NOTE]
    if disturbed:
        why = f"{disturbed} of {every} runs were disturbed; {why}"
        notes.append(f"{disturbed} of {counted(every, 'run')} disturbed by others, and left out")
    return Answer(
        names,
        outcomes,
        notes=notes,
        why_undecided=why,
        undecided_passes=undecided_passes,
        disturbed=disturbed,
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


def _check_one_setting(side: Sequence[RunRecord], name: str) -> None:
    """Runs of one side differ in their seed alone; or a mean of them is of nothing."""
    settings: dict[str, dict[str, Any]] = {}
    for record in side:
        setting = {k: v for k, v in identifying(record.config).items() if k != "seed"}
        settings.setdefault(json.dumps(setting, sort_keys=True, default=str), setting)
    if len(settings) > 1:
        several = list(settings.values())
        keys = dict.fromkeys(key for each in several for key in each)
        varied = [
            f"{key}={' and '.join(dict.fromkeys(json.dumps(each.get(key)) for each in several))}"
            for key in keys
            if any(each.get(key) != several[0].get(key) for each in several)
        ]
        raise UserError(
            f"{name}: holds runs of {len(settings)} settings: {listed(varied, SHOWN)}; give the "
            "records of one, which differ in their seed alone"
        )


def _check_known(questions: Sequence[Question], sides: Sequence[Sequence[RunRecord]]) -> None:
    for metric in (question.metric for question in questions):
        if metric.name == "startup":
            raise UserError(
                "--of=startup: it depends on what was in the machine's caches, and records do not "
                "tell; compare the programs themselves"
            )
        if not all(_values(side, metric) for side in sides):
            raise UserError(f"--of={metric.name}: these records do not have it")


def _outcome(
    question: Question,
    every: Sequence[Sequence[RunRecord]],
    clean: Sequence[Sequence[RunRecord]],
    among: int,
) -> Outcome:
    """The ratio is of the clean runs; the figures are of all where none is clean."""
    metric = question.metric
    sides = [
        _values(some, metric) or _values(side, metric)
        for some, side in zip(clean, every, strict=True)
    ]
    figures = [geometric_mean(side) for side in sides]
    least = 0.0
    if metric.name in PHASE_NAMES:
        steps = _values(clean[0], METRICS["step"]) or _values(every[0], METRICS["step"])
        least = LEAST_PHASE * geometric_mean(steps) if steps else 0.0
    values = [_values(side, metric) for side in clean]
    logarithms = [[math.log(max(value, least, 1e-12)) for value in side] for side in values]
    ratio = welch_interval(logarithms[0], logarithms[1], among) if all(values) else None
    return Outcome(question, ratio, (figures[0], figures[1]))


def _values(side: Sequence[RunRecord], metric: Metric) -> list[float]:
    return [value for record in side if (value := _value(record, metric)) is not None]


def welch_interval(
    before: Sequence[float], after: Sequence[float], questions: int
) -> AnytimeEstimate:
    """By how much the mean after is larger; without a width where one side has a single value.

    A few values that are all alike have none either: they do not tell by how much such runs vary.
    """
    mean, n = fmean(after) - fmean(before), len(before) + len(after)
    if min(len(before), len(after)) < 2:
        return AnytimeEstimate(mean, None, n)
    deviations = [max(LEAST_DEVIATION, stdev(values)) for values in (before, after)]
    few = min(len(before), len(after)) < FEWEST_ROUNDS
    if few and max(deviations) == LEAST_DEVIATION:
        return AnytimeEstimate(mean, None, n)
    sizes = map(len, (before, after))
    variance, freedom = welch(zip(deviations, sizes, strict=True))
    quantile = students_quantile(freedom, LEVEL / questions)
    return AnytimeEstimate(mean, quantile * math.sqrt(variance), n)


def _value(record: RunRecord, metric: Metric) -> float | None:
    """A run's mean over its steady epochs, of a step where it is a time of steps."""
    epochs = _steady(record)
    if metric.name == "memory":
        peaks = [each.peak_memory_mib for each in epochs if each.peak_memory_mib is not None]
        return max(peaks, default=None)
    values = [_of_epoch(epoch, metric) for epoch in epochs]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _of_epoch(epoch: EpochRecord, metric: Metric) -> float | None:
    """Without validation and checkpoints, as rounds measure it."""
    split = epoch.other_split or {}
    saving_s = sum(seconds for name, seconds in split.items() if "checkpoint" in name.lower())
    whole_s = (epoch.time["epoch_s"] or 0.0) - (epoch.time["validation_s"] or 0.0) - saving_s
    phases = {phase.name: epoch.time[phase.key] for phase in PHASES}
    if (other_s := phases[OTHER.name]) is not None:
        phases[OTHER.name] = max(0.0, other_s - saving_s)
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
