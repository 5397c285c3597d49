"""The start of a command that measures short fits."""

import logging

from omegaconf import DictConfig

from hpml.config.cpu import set_waiting
from hpml.system import environment
from hpml.system.other_programs import warn_of_others

log = logging.getLogger("hpml")


def begin_measuring(cfg: DictConfig, as_ranks: bool = True) -> None:
    """Warns of other programs, and sets how threads wait; before torch is imported.

    Where processes measure one job together, `as_ranks`, the first one speaks for all, and they
    do not take one another, which begin now too, for other programs.
    """
    if as_ranks and environment.rank():
        log.setLevel(logging.ERROR)
    if not (as_ranks and environment.is_one_of_several()):
        warn_of_others()
    set_waiting(cfg)
