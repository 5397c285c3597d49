"""Answers that a machine was too busy for, in words."""

from collections.abc import Mapping, Sequence

from hpml.formatting import counted
from hpml.report.collect import Run
from hpml.report.ranking import EPOCH, Measure
from hpml.report.settings import Setting
from hpml.report.times_in_doubt import in_doubt, span
from hpml.system.interference import Interference


def disturbance(runs: Sequence[Run], measure: Measure = EPOCH) -> Interference | None:
    """What disturbed a time of completed runs, in the worst of them; None where nothing did."""
    seen = (run.interference[measure.name] for run in runs if run.completed)
    disturbed = (each for each in seen if each is not None and each.disturbed)
    return max(disturbed, key=lambda each: each.share, default=None)


def is_in_doubt(settings: Sequence[Setting], measure: Measure) -> bool:
    """Whether one of them was disturbed beyond what separates it from another one."""
    return any(in_doubt([span(setting, measure.name) for setting in settings]))


def why(settings: Mapping[str, Setting], measure: Measure) -> str:
    """Which of some settings was disturbed most, by its name, and by what; nothing if none was."""
    seen = {name: disturbance(setting.runs, measure) for name, setting in settings.items()}
    disturbed = {name: each for name, each in seen.items() if each is not None}
    if not disturbed:
        return ""
    worst = max(disturbed, key=lambda name: disturbed[name].share)
    words = disturbed[worst].in_words(worst)
    more = len(disturbed) - 1
    return words + f"; {counted(more, 'other')} of {len(settings)} disturbed too" * bool(more)


def too_busy(reason: str, again: str) -> str:
    """The answer that there is none, with the command that may find one."""
    return f"The machine was too busy for an answer: {reason}; run it again with `{again}`."
