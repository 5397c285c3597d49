"""What a tuning is refused for, in one line, before anything is measured."""

from collections.abc import Iterable
from typing import Any

from hpml.errors import FailedElsewhereError, UserError, place, reason
from hpml.trials.checks import is_seconds
from hpml.trials.intervention import Intervention
from hpml.trials.subject import Subject
from hpml.tuning.trials_with_changes import load_before

LEAST_BUDGET_S = 20.0


def check_also(also: Any, key: str = "also") -> None:
    """Raises UserError for what is no list of names."""
    is_list = isinstance(also, Iterable) and not isinstance(also, str)
    if not (is_list and all(isinstance(name, str) for name in also)):
        raise UserError(f"{key}={also!r}: give a list of names")


def check_budget(
    budget_s: Any, key: str = "budget_s", least_s: float | None = None, of: str = "changes"
) -> None:
    """Raises UserError for a budget that is none, or too small for an answer."""
    least_s = LEAST_BUDGET_S if least_s is None else least_s
    if not is_seconds(budget_s):
        raise UserError(f"{key}={budget_s!r}: give seconds, more than 0")
    if budget_s < least_s:
        raise UserError(f"{key}={budget_s:g}: is too short to compare {of}; give {least_s:g}")


def first_step(subject: Subject) -> None:
    """Trains one step of a job. Raises UserError where that fails, with the job's own error."""
    try:
        subject.loading()  # makes the loader
        load_before(subject, seed=0)
        subject.fit(Intervention(), 0, 1, seed=0)
    except UserError:
        raise
    except FailedElsewhereError as error:
        raise UserError(f"the training fails in its first step, on {error}") from error
    except Exception as error:
        what = f"{reason(error)}{place(error)}"
        raise UserError(f"the training fails in its first step: {what}") from error
