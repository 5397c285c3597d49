"""Which numbers of workers are tried."""

from collections.abc import Iterator
from typing import Any

from hpml.formatting import counted

# Up to so many usable cores every count is tried; of more cores every count up to FEW.
SMALL_MACHINE, FEW = 8, 3
# Beyond so many, and twice the cores, processes cost more memory than they could bring time.
MOST, STEP = 32, 4


def counts_to_try(cores: int, step: int = STEP, most: int | None = None) -> Iterator[int]:
    """From 0 upwards: always FEW, every count up to the cores of a small machine, then in steps.

    The last one is `most`; without it MOST, or twice the cores.
    """
    if most is None:
        most = max(MOST, 2 * cores)
    every = max(FEW, cores if cores <= SMALL_MACHINE else 0)
    yield from range(min(every, most) + 1)
    yield from range(step * (every // step + 1), most, step)
    if most > every:
        yield most


def in_words(setting: Any) -> str:
    """A setting that is tried: `2 workers`; keys and values as they are."""
    return counted(int(setting), "worker") if str(setting).isdigit() else str(setting)
