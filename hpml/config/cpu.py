"""Threads of the processor that torch computes on, and how those that have no work wait.

A step of several OpenMP threads ends when the last one does. By default those that wait spin: they
burn a core that another thread, a loading worker or another program could have had. Passive waiting
sleeps instead. `benchmarks/threads.py` measures both.
"""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

from omegaconf import DictConfig

from hpml.system.environment import JOBS_AT_ONCE, usable_cores
from hpml.system.threads import PASSIVE, SPIN, waiting

log = logging.getLogger("hpml")

AUTO = "auto"
# With more cores than this, threads that spin are awake sooner than others would use their core …
FEW_CORES = 4
# … unless other programs use so much of the machine.
BUSY = 0.25
# What each OpenMP reads, once, when it is loaded: GNU's, which torch brings, and Intel's.
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
READ_ONCE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def set_waiting(cfg: DictConfig, variables: MutableMapping[str, str] = os.environ) -> None:
    """Sets how threads wait, for this process and those that it starts; before torch is imported.

    What the user's environment says goes before `auto`. `spin` is what OpenMP does by itself: for
    some milliseconds, then it sleeps.
    """
    wait = cfg.cpu.wait
    if variables is os.environ and "torch" in sys.modules:
        if wait not in (AUTO, waiting()):
            given = "OMP_WAIT_POLICY" + ("=PASSIVE" if wait == PASSIVE else " to nothing")
            log.warning(f"cpu.wait={wait} has no effect: torch is imported already; set {given}")
        return
    if wait == AUTO and any(name in variables for name in READ_ONCE):
        return
    if wait == AUTO:
        crowded = int(variables.get(JOBS_AT_ONCE, "1")) > 1
        wait = PASSIVE if usable_cores() <= FEW_CORES or crowded or _is_busy() else SPIN
    for name in READ_ONCE:
        variables.pop(name, None)
    if wait == PASSIVE:
        variables.update(SLEEPING)


def set_threads(cfg: DictConfig, ranks: int = 1) -> dict[str, Any]:
    """Sets how many threads torch computes with; what `auto` stands for, by key. Imports torch.

    `auto` is torch's own number, but no more than the cores that a process may use: torch looks at
    its affinity alone, and takes all cores of a machine of which a control group grants a few.
    """
    import torch

    threads = cfg.cpu.threads
    if threads == AUTO:
        threads = min(torch.get_num_threads(), max(1, usable_cores() // ranks))
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    chosen = {"cpu.threads": threads, "cpu.wait": waiting()}
    return {key: value for key, value in chosen.items() if cfg.cpu[key[4:]] == AUTO}


def _is_busy() -> bool:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # of the last minute
    return load > BUSY * (os.cpu_count() or 1)
