"""Threads and cores of a process and its workers: how they wait, and where they may run."""

import multiprocessing.process
import os
from collections.abc import Collection, Iterable, MutableMapping

PASSIVE, BRIEF, SPIN = "passive", "brief", "spin"
BRIEF_SPINS = 2000  # tens of microseconds, where GNU's OpenMP by default spins 300,000 times


def waiting(variables: MutableMapping[str, str] = os.environ) -> str:
    """How OpenMP's threads wait in a process with this environment."""
    spins = variables.get("GOMP_SPINCOUNT")
    if spins is not None and spins.isdigit() and int(spins) <= BRIEF_SPINS:
        return BRIEF if int(spins) else PASSIVE
    is_passive = variables.get("OMP_WAIT_POLICY", "").lower() == "passive"
    return PASSIVE if is_passive and spins is None else SPIN


def affinity(pid: int = 0) -> frozenset[int] | None:
    """The cores that a process may run on, this one by default; None where no system tells."""
    if not hasattr(os, "sched_getaffinity"):  # macOS and Windows
        return None
    try:
        return frozenset(os.sched_getaffinity(pid))
    except OSError:  # it has ended
        return None


def workers_affinity() -> list[frozenset[int]]:
    """Of each process that this one has started to work for it, a loader's workers above all."""
    # active_children() would take away the exit codes that a loader wants to see
    children = getattr(multiprocessing.process, "_children", ())
    every = (affinity(child.pid) for child in list(children) if child.pid is not None)
    return [cores for cores in every if cores is not None]


def crowded_in_words(workers: Collection[frozenset[int]], machine: int | None = None) -> str | None:
    """A sentence where workers are pinned to fewer cores than there are of them; None elsewhere.

    On a `machine` of so few cores, by default this one, they are not pinned.
    """
    cores = frozenset[int]().union(*workers)
    if len(cores) >= min(len(workers), machine or os.cpu_count() or 1):
        return None
    return (
        f"{len(workers)} workers may run on {len(cores)} {'core' if len(cores) == 1 else 'cores'} "
        f"only ({ranges(cores)}) and wait for one another: pin them to more, or take fewer workers"
    )


def ranges(cores: Iterable[int]) -> str:
    """As the kernel writes them: `0-3,8`."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
