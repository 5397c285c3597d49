"""The jobs of a sweep: their names, and the order in which they run."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpml.sweep.composing import parsed


@dataclass(frozen=True, eq=False)
class Job:
    """One job, before it runs."""

    number: int  # as Hydra counts
    name: str
    overrides: tuple[str, ...]
    setting: tuple[str, ...]  # what it has in common with its repeats
    directory: Path
    fingerprint: str
    code_fingerprint: str
    cost_key: str  # of all that take about as long
    device: str
    processes: object
    epochs: int | None  # None where no end is known
    monitor: str
    would_sweep: bool = False  # an option has it begin a sweep, as `experiment=optimizers` does


def job_names(job_overrides: Sequence[Sequence[str]], swept: Sequence[str] = ()) -> list[str]:
    """The name of each job's folder: the overrides in which the jobs differ, or will.

    A job's number where nothing varies, or where the names would not tell the jobs apart.
    """
    varying, names = varying_keys(job_overrides, swept), []
    for job in (_by_key(overrides) for overrides in job_overrides):
        name = ",".join(job[key] for key in varying if key in job)
        # nothing that a folder's name cannot hold on some system, nor too long
        names.append(re.sub(r"[^A-Za-z0-9=,.+\[\]~-]", "_", name)[:200])
    if "" in names or len(set(names)) < len(names):
        return [str(number) for number in range(len(names))]
    return names


def varying_keys(job_overrides: Sequence[Sequence[str]], swept: Sequence[str] = ()) -> list[str]:
    """The keys of which some jobs have another value, and those that are swept."""
    jobs = [_by_key(overrides) for overrides in job_overrides]
    keys = dict.fromkeys(key for job in jobs for key in job)
    return [key for key in keys if key in swept or len({job.get(key) for job in jobs}) > 1]


def _by_key(overrides: Iterable[str]) -> Mapping[str, str]:
    return {parsed(word).key_or_group: word for word in overrides}


def setting(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides without the seed: what is the same in all repeats."""
    return tuple(override for override in overrides if not override.startswith("seed="))


def in_order(jobs: Sequence[Job], order: str) -> list[Job]:
    """The order in which jobs run, by `sweep.order`: as given, or interleaved.

    A machine that grows warm, or busy, slows all settings alike where each comes once before any
    comes again. `auto` interleaves where settings repeat.
    """
    settings = [job.setting for job in jobs]
    if order == "interleaved" or (order == "auto" and len(set(settings)) < len(settings)):
        return [jobs[index] for index in interleaved(settings)]
    return list(jobs)


def interleaved(settings: Sequence[tuple[str, ...]]) -> list[int]:
    """Indices of jobs: all settings once before any comes again."""
    counts: dict[tuple[str, ...], Iterator[int]] = defaultdict(itertools.count)
    turns = [next(counts[each]) for each in settings]
    return sorted(range(len(turns)), key=turns.__getitem__)
