"""What a process of tests leaves out: nothing that a test asserts depends on it.

Hydra composes a configuration twice: at first only for `hydra.mode`, which an experiment or a word
of Hydra's may set. And what is written waits for the disk, which counts when the power fails.
"""

import os
from typing import Any

from hydra._internal.hydra import Hydra

_get_mode = Hydra.get_mode
PROGRAMS = ("train", "fetch", "diagnose", "tune", "workers", "lab", "summary")


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    may_set_it = any("experiment" in word or "hydra" in word for word in overrides)
    if may_set_it or config_name not in PROGRAMS:
        return _get_mode(hydra, config_name, overrides)
    return None  # as the command line says


def leave_out() -> None:
    """From here on, also in forks."""
    Hydra.get_mode = _mode  # type: ignore[method-assign]
    os.fsync = lambda descriptor: None
