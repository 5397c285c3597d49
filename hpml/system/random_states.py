"""Random states that are kept while something draws."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states


@contextmanager
def random_states_kept(of_gpus: bool = True) -> Iterator[None]:
    """As Lightning's isolate_rng, which leaves the states changed where something is raised."""
    states = _collect_rng_states(include_cuda=of_gpus)
    try:
        yield
    finally:
        _set_rng_states(states)
