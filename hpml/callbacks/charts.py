"""TensorBoard's own page, laid out for what a training and its timers log."""

import lightning as L

from hpml.records.phases import PHASES

# Charts by the beginnings of tags, as regular expressions, whatever a module calls them.
LEARNING = {"losses": ["Multiline", [".*loss"]], "accuracies": ["Multiline", [".*acc"]]}


def lay_out(trainer: L.Trainer, laid_out: set[str | None]) -> None:
    """Once for each directory of a logger; a layout that the module makes later replaces it.

    Losses come first there: its others are sorted by the names of groups. Lines of one run have
    one colour, whatever their tags, so that each phase has a chart of its own.
    """
    phases = {phase.title: ["Multiline", [f"time/{phase.key}$"]] for phase in PHASES}
    layout = {"Learning": LEARNING, "Where the epoch goes": phases}
    for logger in trainer.loggers:  # not all have an experiment
        add = getattr(getattr(logger, "experiment", None), "add_custom_scalars", None)
        if add is not None and logger.log_dir not in laid_out:
            laid_out.add(logger.log_dir)
            add(layout)
