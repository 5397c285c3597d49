"""One run's whole record, with what is of no use left out, and what it tells in sentences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpml.formatting import counted, decimals
from hpml.records.phases import PHASES, TIMES
from hpml.records.run_record import LARGEST, EpochRecord, RunRecord, read_records
from hpml.records.verdict_in_words import in_words
from hpml.report.collect import Run, clean, mean
from hpml.report.comparison import Comparison
from hpml.report.ranking import NOTHING
from hpml.report.run.ranks import check_ranks, is_amount, is_disturbed, rank_sentences

QUANTILES = ("p50", "p95", "p99", "max")
# Figures of a run and of its epochs that a comparison does not read, and nobody has checked.
OF_RUN = ("startup_s", "compile_s", "finish_s")
OF_EPOCH = ("steps", "first_batch_s", "peak_memory_mib")
GROUPS = ("step_ms", "step_counts", "train_split", "other_split", "device_time")
ENOUGH_STEPS = 20  # to say what half of them take
LEAST_AROUND = 0.01  # of the whole time
VERDICT = ("kind", "evidence", "advice")


def only_run(comparison: Comparison, paths: Sequence[Path]) -> Run | None:
    """The run, with all of its record, where there is one alone that was trained; else None."""
    if len(comparison.runs) != 1 or comparison.evaluations:
        return None
    (run,) = comparison.runs
    for directory, record in read_records(paths):
        if directory == run.directory and isinstance(record, RunRecord):
            _check(record)
            return Run(directory, record, run.name, run.packed_seen)
    return None


def _check(record: RunRecord) -> None:
    """Makes None of what is not of the type that it should be."""
    _check_numbers(record, OF_RUN)
    if not _has_texts(record.verdict, VERDICT):
        record.verdict = None
    windows = record.windows if isinstance(record.windows, dict) else {}
    columns = {k: v for k, v in windows.items() if isinstance(v, list) and all(map(_is_known, v))}
    needed = {"steps", "samples", *(phase.key for phase in PHASES)} <= columns.keys()
    alike = len({len(column) for column in columns.values()}) == 1
    record.windows = columns if needed and alike else None
    if not isinstance(record.model, dict):
        record.model = None
    for epoch in record.epochs:
        _check_numbers(epoch, OF_EPOCH)
        for name in GROUPS:
            values = getattr(epoch, name)
            known = values if isinstance(values, dict) else {}
            known = {str(key): value for key, value in known.items() if is_amount(value)}
            setattr(epoch, name, known or None)
        if not set(QUANTILES) <= (epoch.step_ms or {}).keys():
            epoch.step_ms = None
        check_ranks(epoch)
        epoch.step_counts = _lengths(epoch.step_counts)


def _check_numbers(holder: object, names: Sequence[str]) -> None:
    for name in names:
        if not is_amount(getattr(holder, name)):
            setattr(holder, name, None)


def _is_known(value: object) -> bool:
    return value is None or is_amount(value)


def _has_texts(values: Any, names: Sequence[str]) -> bool:
    return isinstance(values, dict) and all(isinstance(values.get(name), str) for name in names)


def _lengths(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    """Those that stand at a number, as a record writes them."""
    lengths = {}
    for text, count in (counts or {}).items():
        try:
            if 0 < float(text) < LARGEST:
                lengths[text] = int(count)
        except ValueError:
            continue
    return lengths or None


def marks(epoch: EpochRecord) -> str:
    """`!` for an epoch that others disturbed, `*` for one cut short or resumed."""
    return "!" * is_disturbed(epoch) + "*" * bool(epoch.partial or epoch.resumed)


def in_figures(metric: str, value: float | None) -> str:
    """A metric's value as it is shown."""
    if value is None:
        return NOTHING
    is_share = metric.endswith("accuracy") and 0 <= value <= 1
    return f"{value:.2%}" if is_share else f"{value:.4g}"


def verdict_lines(record: RunRecord) -> tuple[str, str] | None:
    """What limits the run, and what to try."""
    if record.verdict is None:
        return None
    so_far = "" if record.status != "running" else "so far "
    evidence, advice = in_words(record.verdict)
    return clean(so_far + evidence), clean(advice)


def untold_disturbances(run: Run, comparison: Comparison) -> list[str]:
    """What disturbed it; empty where its verdict says so already."""
    is_verdict = (run.record.verdict or {}).get("kind") == "disturbed"
    return [] if is_verdict else comparison.disturbances


def sentences(run: Run) -> Iterator[str]:
    """Where the time of the whole run went, how fast its epochs and steps were, its resumptions."""
    record = run.record
    epochs_s = sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs)
    parts = [("start-up", record.startup_s), (counted(len(record.epochs), "epoch"), epochs_s)]
    parts += [("after the last", record.finish_s)]
    around_s = (record.wall_s or 0.0) - math.fsum(value or 0.0 for _, value in parts)
    if around_s > LEAST_AROUND * (record.wall_s or 0.0):
        parts.append(("around the fit", around_s))
    known = [f"{name} {_in_s(value)}" for name, value in parts if value is not None]
    whole = f"the run took {_in_s(record.wall_s)}: " if record.wall_s is not None else ""
    yield f"{whole}{', '.join(known)}"
    steady_s, rate = run.measures["steady_epoch_s"], run.measures["samples_per_s"]
    if steady_s is not None:
        fast = f", {rate:,.0f} samples/s over all epochs" if rate else ""
        yield f"an epoch after the first takes {_in_s(steady_s)}{fast}"
    quantiles = [epoch.step_ms for epoch in record.epochs if epoch.step_ms]
    if quantiles and sum(epoch.steps or 0 for epoch in record.epochs) >= ENOUGH_STEPS:
        p50, p99 = (mean(each[name] for each in quantiles) or 0.0 for name in ("p50", "p99"))
        longest = max(each["max"] for each in quantiles)
        yield (
            f"half of an epoch's steps take {_in_ms(p50)} at most, one in a hundred {_in_ms(p99)} "
            f"or more, the longest of all {_in_ms(longest)}"
        )
    yield from rank_sentences(run)
    if record.verdict is not None and isinstance(note := record.verdict.get("note"), str):
        yield clean(note)
    for resumption in record.resumed:
        batches = resumption.get("batches")
        after = f" after {batches:,} batches" if is_amount(batches) else ""
        yield f"resumed{after}, at {clean(str(resumption['at']))}"


def machine(run: Run) -> str:
    """Processor and accelerators, as the record has them."""
    of = run.record.environment
    gpus = of.get("accelerators")
    used = [*gpus] if isinstance(gpus, list) and of.get("device") != "cpu" else []
    cores = f"{of['cpu']}, {of.get('cpu_cores')} cores" if of.get("cpu") else ""
    return clean(", ".join(filter(None, [*map(str, used), cores])))


def subject(run: Run) -> str:
    """What was trained on what: `small on image_folder`; nothing where nobody knows."""
    record = run.record
    named = record.choices.get("model") or (record.model or {}).get("name")
    names = [str(name) for name in (named, record.choices.get("data")) if name]
    return clean(" on ".join(names))


def parts(epochs: Sequence[EpochRecord]) -> list[tuple[str, str, float]]:
    """Phase, part and mean seconds of an epoch of what training and other consist of.

    The largest first; only of epochs that tell.
    """
    found = []
    for phase, group in (("train", "train_split"), ("other", "other_split")):
        splits = [of for epoch in epochs if (of := getattr(epoch, group))]
        for name in dict.fromkeys(name for of in splits for name in of):
            seconds = sum(of.get(name, 0.0) for of in splits) / len(splits)
            found.append((phase, name.removesuffix("_s"), seconds))
    return sorted(found, key=lambda part: -part[2])


def unknown_s(epoch: EpochRecord) -> float:
    """The part of an epoch that its phases, as far as they are known, leave open."""
    values = [epoch.time[name] for name in TIMES]
    if None not in values:
        return 0.0
    known = [value or 0.0 for value in values]
    return max(0.0, known[0] - math.fsum(known[1:]))


def _in_s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:,.{min(3, decimals(seconds))}f} s"


def _in_ms(value: float) -> str:
    return f"{value:,.4g} ms" if value < 1000 else f"{value / 1000:,.4g} s"
