"""Hooks that are called where an error or a signal ends a Hydra program.

Hydra calls no callback's end then, and a launcher does not see what its sweeper raises.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpml.system.signals import RunInterrupted

_hooks: list[Callable[[BaseException], None]] = []
# To be called with what has ended the program; it may raise something that says more.
call_on_error = _hooks.append


@contextmanager
def error_hooks_called() -> Iterator[None]:
    """Around a program of Hydra's."""
    _hooks.clear()
    try:
        yield
    except (Exception, RunInterrupted) as error:
        for hook in _hooks:
            hook(error)
        raise
