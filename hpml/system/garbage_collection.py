"""How torch and Lightning are imported: without Python's garbage collector."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """The garbage collector looks at nothing within it, and never at what was made within it.

    For the imports of torch and Lightning. The 440,000 objects that they make last as long as the
    process. To look through them once takes 0.4 s on a core of an AMD EPYC, and it is done again
    and again while they are made: a quarter of the imports' time. It does nothing where Lightning
    is imported already: what another run has left behind is garbage.
    """
    if "lightning" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
