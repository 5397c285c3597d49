"""Which numbers of workers are tried."""

from collections.abc import Iterator

# Up to so many usable cores every count is tried.
SMALL_MACHINE = 8
# Beyond so many, and twice the cores, processes cost more memory than they could bring time.
MOST, STEP = 32, 4


def counts_to_try(cores: int, step: int = STEP, most: int | None = None) -> Iterator[int]:
    """From 0 upwards: always 1, every count up to the cores of a small machine, then in steps.

    The last one is `most`; without it MOST, or twice the cores.
    """
    every = range(2, cores + 1) if cores <= SMALL_MACHINE else ()
    if most is None:
        most = max(MOST, 2 * cores)
    first = (0, 1, *every)
    yield from (count for count in first if count <= most)
    yield from range(step * (first[-1] // step + 1), most + 1, step)
