"""What an epoch is said to take, of what was timed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hpml.trials.intervention import Intervention
from hpml.trials.job_loader import Loading
from hpml.trials.pace import Pace
from hpml.trials.settings import Settings
from hpml.tuning.change import NONE, Change
from hpml.tuning.epoch_trials import epoch_s
from hpml.tuning.trials_with_changes import Trials, Tunable

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


@pytest.mark.parametrize(
    ("step_s", "trial", "whole"),
    [(0.01, (6, 20), (6, 60)), (0.04, (6, 8), (6, 16)), (1.0, (5, 8), (5, 8))],
)
def test_what_is_claimed_comes_from_longer_trials(step_s: float, trial: Any, whole: Any) -> None:
    """Of a job that waits for workers; of slow steps there are as few as can be."""
    ahead = Loading(workers=2, ahead=4, starts_anew=True)
    subject = SimpleNamespace(loading=lambda settings: ahead)
    subject.trainer = SimpleNamespace(accumulate_grad_batches=1, callbacks=[])
    job: Any = SimpleNamespace(with_changes=lambda changes: (subject, Intervention()))
    of = Trials(job, 0.2, Pace(step_s, 0.5 * step_s, None), None, 0)
    assert (of.lengths(NONE), of.lengths(NONE, is_whole=True)) == (trial, whole)


def fitted(epoch_steps: int | None) -> tuple[Trials, list[tuple[int, ...]]]:
    """Trials of steps of 0.1 s, and the seed and lengths of each of their fits."""
    fits: list[tuple[int, ...]] = []

    def fit(intervention: Intervention, *lengths: int, seed: int) -> Pace:
        fits.append((seed, *lengths))
        return Pace(0.1, 0.0, None)

    loading = Loading(workers=0, ahead=0, starts_anew=False)
    subject = SimpleNamespace(epoch_steps=epoch_steps, loading=lambda settings: loading, fit=fit)
    subject.trainer = SimpleNamespace(accumulate_grad_batches=1, callbacks=[])
    job: Any = SimpleNamespace(with_changes=lambda changes: (subject, Intervention()))
    return Trials(cast(Tunable, job), 0.0, Pace(0.1, 0.0, None), None, 0), fits


def test_what_compiles_is_tried_before_it_is_timed() -> None:
    """In a race, and again where whole epochs have validation too, which compiles for itself."""
    trials, fits = fitted(None)
    compiled = frozenset({Change("compile", frozenset({"compile"}), frozenset({"compute"}))})
    for number, trial in enumerate([trials(compiled), trials(compiled), trials.whole(compiled)]):
        trial(number)
    trials.whole(compiled)(3)
    trials.whole(NONE)(4)
    assert [seed for seed, *_ in fits] == [0, 0, 1, 2, 2, 3, 4]


def test_ends_that_take_too_long_are_left_out_of_whole_epochs() -> None:
    """For the reason that is told; what acts seldom acts as often as in an epoch all the same."""
    trials, fits = fitted(STEPS)
    trials.leave_ends("they take a minute")
    log = Change("log", frozenset({"log"}), frozenset({"x"}), settings=Settings(log_every=40))
    seldom = frozenset({replace(log, acts=(1, 40))})
    timed = trials.whole(seldom)(0)
    assert (timed.epoch_s, timed.left_out) == (pytest.approx(4.7), "they take a minute")
    assert fits == [(0, 2, 4), (0, 2, 40)]
