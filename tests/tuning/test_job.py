"""What an epoch is said to take, of what was timed."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hpml.trials.intervention import Intervention
from hpml.trials.job_loader import Loading
from hpml.trials.pace import Pace
from hpml.tuning.change import NONE
from hpml.tuning.epochs import epoch_s
from hpml.tuning.job import Trials, Tunable

STEPS = 47


def alone(pace: Pace, loading: Loading) -> float:
    """Seconds of an epoch by the loader alone, where that has this pace."""
    subject = SimpleNamespace(
        epoch_steps=STEPS, loading=lambda settings: loading, load=lambda *_: pace
    )
    job: Any = SimpleNamespace(with_changes=lambda changes: (subject, Intervention()))
    trials = Trials(cast(Tunable, job), 0.5, pace, None, loading.workers)
    return trials.alone(NONE)(0).epoch_s


def test_what_is_loaded_ahead_is_in_an_epoch() -> None:
    """24 workers load all of a short epoch while its first batch is waited for."""
    ahead = Loading(workers=24, ahead=48, starts_anew=False)
    assert alone(Pace(0.001, 0.001, 0.4, 2.0), ahead) == pytest.approx(0.447)
    anew = Loading(workers=24, ahead=48, starts_anew=True)  # and start with each epoch
    assert alone(Pace(0.001, 0.001, 1.9, 2.0), anew) == pytest.approx(0.047 + 1.999)
    none = Loading(workers=0, ahead=0, starts_anew=False)
    assert alone(Pace(0.01, 0.01, None, 0.01), none) == pytest.approx(0.47)


def test_end_to_end_an_epoch_has_its_start_too() -> None:
    """That of workers; without any, a whole epoch has what its first batch waits for."""
    ahead = Loading(workers=24, ahead=48, starts_anew=False)
    for pace, workers_s in {
        Pace(0.001, 0.001, 0.4, 2.0): 0.4,
        Pace(0.001, 0.001, None, 2.0): 0.0,  # none began among the measured steps
    }.items():
        assert epoch_s(STEPS, ahead, pace) == pytest.approx(0.047 + workers_s)
        anew = Loading(workers=24, ahead=48, starts_anew=True)
        assert epoch_s(STEPS, anew, pace) == pytest.approx(0.047 + 1.999)
        none = Loading(workers=0, ahead=0, starts_anew=False)
        assert epoch_s(STEPS, none, pace) == pytest.approx(0.047)
