"""The loader of a job that waits for data, taken apart."""

from hpml.diagnosis.trial_figures import AS_IT_IS
from hpml.diagnosis.wording import Diagnosis
from hpml.errors import first_line
from hpml.loading.stages import LoaderStages
from hpml.records.phases import INPUT
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.trials.subject import Subject

# The part of a budget for it; nobody is helped by more seconds than so many.
SHARE, MOST_S = 0.15, 10.0


def seconds_of(budget_s: float) -> float:
    return min(MOST_S, SHARE * budget_s)


def take_apart_if_waiting(
    diagnosis: Diagnosis, subject: Subject, seconds: float
) -> LoaderStages | None:
    """Its stages where nothing would gain as much as loading that is free; None elsewhere.

    Where the loader cannot be taken apart, the diagnosis notes why.
    """
    cause, gain = next(iter(diagnosis.gains.items()), (None, None))
    if cause != INPUT or gain is None:
        return None
    if gain.mean <= LEAST_MARGIN * diagnosis.epoch_s(AS_IT_IS).mean:
        return None
    try:
        return subject.take_apart(seconds)
    except Exception as error:  # which a lone part of the job may raise where the whole does not
        words = f"{type(error).__name__}: {first_line(error)}"
        diagnosis.notes.append(f"the loader could not be taken apart ({words})")
        return None
