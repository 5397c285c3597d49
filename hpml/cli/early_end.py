"""What is still done where an error or a signal ends a Hydra program.

Hydra calls no callback's end then, and a launcher does not see what its sweeper raises. The exit
code is chosen in `program.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpml.system.signals import RunInterrupted

_endings: list[Callable[[BaseException], None]] = []
# To be called with what has ended the program; it may raise something that says more.
at_early_end = _endings.append


@contextmanager
def endings_called() -> Iterator[None]:
    """Around a program of Hydra's."""
    _endings.clear()
    try:
        yield
    except (Exception, RunInterrupted) as error:
        for ending in _endings:
            ending(error)
        raise
