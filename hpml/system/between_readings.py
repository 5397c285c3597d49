"""What happened to a job between two readings of what the system tells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpml.system.gpus import GpuReading
from hpml.system.interference import Interference, add

# The kernel looks at each core once in so long, by most systems' setting, and counts all of it as
# work where it finds some.
TICK_S = 0.004
# A page that had been given away is back after so long at most, from a slow disk.
READ_AGAIN_S = 0.02


@dataclass(frozen=True)
class Reading:
    """What a Witness saw at one moment: sums since an arbitrary one, None for what is not told."""

    at_s: float
    waited: dict[str, float] | None  # by thread of the process, its main thread as "main"
    workers_waited: dict[Any, float] | None  # by child process, with those that have ended
    cpu_s: float | None
    cores: dict[int, tuple[float, float | None]]  # of each: seconds of work, and stolen ones
    usable: frozenset[int] | None  # the cores that the job may use; None for all
    throttled_s: dict[str, float] | None  # by control group
    stopped_s: float | None
    pressure_s: float | None
    memory_stalled_s: float | None
    major_faults: int | None
    swapped_mib: float | None
    load: float | None
    gpus: list[GpuReading] | None


def between(before: Reading, after: Reading, waiting_s: float | None = None) -> Interference:
    """What happened between two readings of one Witness.

    `waiting_s` is the time in which the interval may have waited for its workers: only so much of
    their waiting can have held it up.
    """
    wall_s = after.at_s - before.at_s
    threads = _differences(before.waited, after.waited)
    workers = _differences(before.workers_waited, after.workers_waited)
    main_s = None if threads is None else threads.pop("main", None)
    cpu_s = _difference(before.cpu_s, after.cpu_s)
    usable = [
        core
        for core in after.cores
        if core in before.cores and (after.usable is None or core in after.usable)
    ]
    pairs = [(before.cores[core], after.cores[core]) for core in usable]
    worked = [_difference(first[0], last[0]) for first, last in pairs]
    busy_s = add(worked)
    seen = {
        name: _difference(getattr(before, name), getattr(after, name))
        for name in (
            *("stopped_s", "pressure_s", "memory_stalled_s"),
            *("major_faults", "swapped_mib"),
        )
    }
    groups = _differences(before.throttled_s, after.throttled_s, anew=False)
    interference = Interference(
        wall_s,
        main_s,
        None if threads is None else sum(threads.values()),
        None if workers is None else sum(workers.values()),
        cpu_s=cpu_s,
        others_cpu_s=None if None in (busy_s, cpu_s) else max(0.0, busy_s - cpu_s),
        chance_s=_chance_s(wall_s, worked) if worked else None,
        stolen_s=add(_difference(first[1], last[1]) for first, last in pairs),
        throttled_s=max((groups or {}).values(), default=None),
        **seen,
        load=after.load,
        cores=len(usable) or None,
        gpus=None if after.gpus is None else GpuReading.between(before.gpus, after.gpus, wall_s),
    )
    if main_s is None or threads is None:
        return _attributed(interference)
    for_workers_s = wall_s if waiting_s is None else waiting_s
    behind = [0.0, *(workers or {}).values()]
    # a loader's batches come in order: all wait for the worker that waits longest
    likely_s = main_s + max(threads.values(), default=0.0) + min(max(behind), for_workers_s)
    # each step and each batch may have waited for another one
    most_s = main_s + sum(threads.values()) + min(sum(behind), for_workers_s)
    return _attributed(interference, min(wall_s, likely_s), min(wall_s, most_s))


def _attributed(
    seen: Interference, likely_s: float | None = None, most_s: float = 0.0
) -> Interference:
    """Divides the waiting among those who had the cores; it held the interval up by `most_s` s.

    What a quota denied comes first. The CPU time of others could have run the threads that waited,
    as far as it goes, whichever these were; for the rest they waited for one another, and of what
    is likely to have held it up that is a part in proportion.
    """
    lost = {"stopped": seen.stopped_s or 0.0}
    own_s = likely_s
    waits = (seen.main_waited_s, seen.threads_waited_s, seen.workers_waited_s)
    waited_s = sum(wait or 0.0 for wait in waits)
    if likely_s is not None and waited_s > 0:
        throttled_s = seen.throttled_s or 0.0
        # the kernel counts it from when a core's share is used up, threads wait a little longer
        quota_s = waited_s if throttled_s > waited_s / 2 else throttled_s
        lost["quota"] = min(quota_s, most_s)
        own_s = None
        if seen.others_cpu_s is not None:
            others_s = min(waited_s - quota_s, seen.others_cpu_s)
            lost["others"] = min(others_s, most_s)
            own_s = (waited_s - quota_s - others_s) / waited_s * likely_s
    if seen.stolen_s and seen.cores:
        lost["stolen"] = seen.stolen_s / seen.cores  # of a job that goes from core to core
    if seen.major_faults and seen.memory_stalled_s:
        # the machine's count, and no more than it takes to read so many pages again
        lost["memory"] = min(seen.memory_stalled_s, READ_AGAIN_S * seen.major_faults)
    values = {name: getattr(seen, name) for name in Interference.__dataclass_fields__}
    some = {cause: s for cause, s in lost.items() if s > 0}
    return Interference(**values | {"own_s": own_s, "lost_s": some})


def _chance_s(wall_s: float, worked: Sequence[float]) -> float:
    """By how much the seconds that cores worked may be too many: two standard errors of ticks.

    One that worked all the time, or never, leaves nothing to chance. What `joined` takes off for
    the borders of its pieces comes besides.
    """
    shares = [min(1.0, seconds / wall_s) if wall_s > 0 else 0.0 for seconds in worked]
    return 2 * math.sqrt(TICK_S * wall_s * sum(share * (1 - share) for share in shares))


def _differences(before: Any, after: Any, anew: bool = True) -> dict[Any, float] | None:
    """By name; what only `after` has has begun `anew` meanwhile, or is left out."""
    if before is None or after is None:
        return None
    names = [name for name in after if anew or name in before]
    return {name: max(0.0, after[name] - before.get(name, 0.0)) for name in names}


def _difference(before: Any, after: Any) -> Any:
    return None if before is None or after is None else max(0, after - before)
