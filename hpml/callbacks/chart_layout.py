"""TensorBoard's page Custom Scalars: the learning first, then where the epoch goes.

Its other pages are sorted by the names of groups. Lines of one run have one colour, whatever their
tags, so that each has a chart of its own.
"""

from collections.abc import Iterable
from typing import Any

from hpml.records.phases import PHASES

# Charts by the beginnings of tags, as regular expressions, whatever a module calls them.
LEARNING = {
    "training loss": "(?!.*(val|test)).*loss",
    "validation loss": "(?!.*tta).*val.*loss",
    "training accuracy": "(?!.*(val|test)).*acc",
    "validation accuracy": "(?!.*tta).*val.*acc",
}
LAYOUT = {
    "Learning": {title: ["Multiline", [pattern]] for title, pattern in LEARNING.items()},
    "Where the epoch goes": {
        phase.title: ["Multiline", [f"time/{phase.key}$"]] for phase in PHASES
    },
}


def lay_out(loggers: Iterable[Any], laid_out: set[str | None]) -> None:
    """Gives each of TensorBoard's loggers the page, unless its directory is in `laid_out`.

    A layout that the module makes later replaces it.
    """
    for logger in loggers:  # not all have an experiment
        add = getattr(getattr(logger, "experiment", None), "add_custom_scalars", None)
        if add is not None and logger.log_dir not in laid_out:
            laid_out.add(logger.log_dir)
            add(LAYOUT)
