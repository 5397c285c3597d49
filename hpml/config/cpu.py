"""Threads of the processor that torch computes on, and how those that have no work wait.

A step of several OpenMP threads ends when the last one does. By default those that wait spin for
milliseconds, on a core that another thread, a loading worker or another program could have had. To
spin for about as long as it takes to fall asleep and be woken, and then to sleep, costs at most
twice what the best choice would, whatever comes (Karlin, Li, Manasse and Owicki, Empirical Studies
of Competitive Spinning, 1991). `benchmarks/threads.py` measures it.
"""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

from omegaconf import DictConfig

from hpml.system.environment import usable_cores
from hpml.system.threads import BRIEF, BRIEF_SPINS, PASSIVE, SPIN, waiting

log = logging.getLogger("hpml")

AUTO = "auto"
# What each OpenMP reads, once, when it is loaded: GNU's, which torch brings, and Intel's.
WAITING = {
    SPIN: {},  # what it does by itself
    BRIEF: {"GOMP_SPINCOUNT": str(BRIEF_SPINS), "KMP_BLOCKTIME": "1"},
    PASSIVE: {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"},
}
READ_ONCE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def set_waiting(cfg: DictConfig, variables: MutableMapping[str, str] = os.environ) -> None:
    """Sets how threads wait, for this process and those that it starts; before torch is imported.

    `auto` is what the user's environment says, or `brief`.
    """
    wait = cfg.cpu.wait
    if variables is os.environ and "torch" in sys.modules:
        if wait not in (AUTO, waiting()):
            log.warning(f"cpu.wait={wait} has no effect: torch is imported already")
        return
    if wait == AUTO:
        if any(name in variables for name in READ_ONCE):
            return
        wait = BRIEF
    for name in READ_ONCE:
        variables.pop(name, None)
    variables.update(WAITING[wait])


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
