"""TensorBoard's page of custom charts: the learning, and where the epoch goes."""

from collections.abc import Iterable
from typing import Any

from hpml.records.phases import PHASES

# Charts by the beginnings of tags, as regular expressions, whatever a module calls them.
LEARNING = {"losses": ["Multiline", [".*loss"]], "accuracies": ["Multiline", [".*acc"]]}


def lay_out(loggers: Iterable[Any], laid_out: set[str | None]) -> None:
    """Gives each of TensorBoard's loggers the page, unless its directory is in `laid_out`.

    A layout that the module makes later replaces it. Losses come first: TensorBoard sorts its other
    pages by the names of groups. Lines of one run have one colour, whatever their tags, so that
    each phase has a chart of its own.
    """
    phases = {phase.title: ["Multiline", [f"time/{phase.key}$"]] for phase in PHASES}
    layout = {"Learning": LEARNING, "Where the epoch goes": phases}
    for logger in loggers:  # not all have an experiment
        add = getattr(getattr(logger, "experiment", None), "add_custom_scalars", None)
        if add is not None and logger.log_dir not in laid_out:
            laid_out.add(logger.log_dir)
            add(layout)
