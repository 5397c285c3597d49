"""The final comparison: of fresh processes where there are means and time for it."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
from helpers.configurations import QUICK, composed

from hpml.system.interference import Interference
from hpml.training.prepare import prepare
from hpml.trials.interference_watch import Watch
from hpml.trials.pace import Pace, Timed
from hpml.trials.rounds import Candidate
from hpml.trials.subject import subject_of
from hpml.tuning import fresh_trials
from hpml.tuning.change import NONE, Change, Changes
from hpml.tuning.final_comparison import A_TRAINERS, Proof
from hpml.tuning.fresh_trials import FreshTrials, runs_a_script, timed_job
from hpml.tuning.trials_with_changes import Ours, Trials

FASTER = Change("faster", frozenset({"faster"}), frozenset({"input"}))
CHOSEN: Changes = frozenset({FASTER})
BUDGET_S = 100.0


class Clock:
    """Seconds of a budget that trials take."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def left_s(self) -> float:
        return BUDGET_S - self.now_s


def trials(clock: Clock, trial_s: float, gain: float = 2.0) -> Callable[[Changes], Any]:
    """With changes so many times as fast."""

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            clock.now_s += trial_s
            seconds = 4.0 / (gain if changes else 1.0)
            return Timed(seconds + number / 1e3, Pace(0.04, 0.0, None))

        return measure

    return trial


class Fresh:
    """Processes that take `trial_s` each, and are said to take `told_s`."""

    def __init__(
        self, clock: Clock, trial_s: float, told_s: float | None = None, why_not: str = ""
    ) -> None:
        self.trial, self._why_not = trials(clock, trial_s, gain=3.0), why_not
        self._told_s = trial_s if told_s is None else told_s

    def __call__(self, changes: Changes) -> Any:
        return self.trial(changes)

    def begin(self, chosen: Changes) -> str:
        return self._why_not

    @property
    def watch(self) -> Watch[Timed]:
        return lambda measure: (measure(), Interference(1.0))

    def round_s(self, trial_s: float) -> float:
        return 2 * self._told_s


class Failing(Fresh):
    def __call__(self, changes: Changes) -> Any:
        def measure(number: int) -> Timed:
            raise RuntimeError("cannot be pickled")

        return measure


CASES: dict[str, tuple[Callable[[Clock], Any], str, float]] = {
    "a Trainer": (lambda clock: None, A_TRAINERS, 2.0),
    "a job of ours": (lambda clock: Fresh(clock, 5.0), "", 3.0),
    "too slow, as it looks": (
        lambda clock: Fresh(clock, 20.0), "4 rounds of fresh ones would take 160 s", 2.0,
    ),
    "too slow, as it turns out": (
        lambda clock: Fresh(clock, 20.0, 1.0), "4 rounds of fresh ones would take 160 s", 2.0,
    ),
    "one that fails": (
        lambda clock: Failing(clock, 5.0),
        "a fresh one as it is fails (RuntimeError: cannot be pickled in measure (",
        2.0,
    ),
    "a script": (lambda clock: Fresh(clock, 5.0, why_not="it runs again"), "it runs again", 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_processes_are_fresh_where_they_can_be(name: str) -> None:
    """Else the trials of the search are measured again, and it is known why."""
    make, why, times = CASES[name]
    clock = Clock()
    proof = Proof(trials(clock, 1.0), clock.left_s, BUDGET_S, afresh=make(clock))
    proof.run(CHOSEN, trial_s=1.0)
    assert proof.why_here.startswith(why)
    assert bool(proof.why_here) == bool(why)
    assert proof.measured.rounds >= 4
    ratios = [a / b for a, b in proof.measured.pairs(NONE, CHOSEN, lambda timed: timed.epoch_s)]
    assert all(abs(ratio - times) < 0.01 for ratio in ratios)
    assert proof.gain is not None
    assert proof.gain.low > 0
    assert clock.now_s < 1.1 * BUDGET_S


@pytest.mark.parametrize(
    ("seconds", "why", "looked_s", "reserve_s"),
    [
        ([5.0], "", 5.0, 40.0),
        ([10.0, 5.0], "", 15.0, 40.0),  # the first one imports
        ([10.0, 10.0], "4 rounds with them would take 80 s", 21.0, 25.0),
        ([40.0], "4 rounds with them would take 320 s", 41.0, 25.0),  # one look is enough
    ],
)
def test_time_is_kept_for_whole_epochs_or_they_do_without_ends(
    seconds: list[float], why: str, looked_s: float, reserve_s: float
) -> None:
    """A trial with a slow checkpoint, say, is longer than those of the search."""
    clock, taken, told = Clock(), [*seconds], list[str]()

    def whole(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            clock.now_s += 1.0 if told else taken.pop(0) if taken else seconds[-1]
            steps_s, once_s = 2.0 if changes else 4.0 + number / 1e3, 0.0 if told else 2.0
            pace = Pace(0.04, 0.0, None)
            return Timed(steps_s + once_s, pace, once_s=once_s, left_out="".join(told))

        return measure

    proof = Proof(whole, clock.left_s, BUDGET_S, leave_ends=told.append)
    proof.look(trial_s=1.0)
    assert clock.now_s == proof.looked_s == looked_s
    assert told == [why] * bool(why)
    assert proof.reserve_s(1.0) == reserve_s
    clock.now_s = BUDGET_S - reserve_s
    proof.run(CHOSEN, trial_s=1.0)
    assert proof.left_out == why
    assert proof.gain is not None
    assert math.exp(proof.gain.mean) == pytest.approx(2.0 if why else 1.5, rel=0.01)
    assert proof.measured.rounds >= 4
    assert clock.now_s <= 1.1 * BUDGET_S


def test_a_slow_step_leaves_no_ends_out() -> None:
    """It is as slow without them."""
    clock, told = Clock(), list[str]()
    proof = Proof(trials(clock, 20.0), clock.left_s, BUDGET_S, leave_ends=told.append)
    proof.look(trial_s=18.0)
    assert not told
    assert proof.whole_s == 20.0


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("side", [NONE, CHOSEN])
@pytest.mark.parametrize("since", [0, 2])
def test_a_side_that_fails_is_told(since: int, side: Changes, is_fresh: bool) -> None:
    """Where only the job as it is fails in a fresh process, the rounds are made here instead; else
    nothing is claimed, and no further round is made.
    """
    clock = Clock()

    def failing(trial: Callable[[Changes], Any]) -> Callable[[Changes], Any]:
        def made(changes: Changes) -> Candidate[Timed]:
            def measure(number: int) -> Timed:
                if number >= since and changes == side:
                    raise RuntimeError("no memory left")
                return trial(changes)(number)

            return measure

        return made

    here, fresh = trials(clock, 1.0), Fresh(clock, 4.0)
    if is_fresh:
        fresh.trial = failing(fresh.trial)
    else:
        here = failing(here)
    afresh = fresh if is_fresh else None
    proof = Proof(here, clock.left_s, BUDGET_S, afresh=afresh)
    proof.run(CHOSEN, trial_s=1.0)
    if is_fresh and not side:
        assert proof.why_here.startswith("a fresh one as it is fails (RuntimeError: no memory left")
        assert proof.measured.rounds >= 4
        assert proof.gain is not None
        assert math.exp(proof.gain.mean) == pytest.approx(2.0, rel=0.01)
    else:
        assert list(proof.measured.failures) == [side]
        assert proof.fails == bool(side)
        assert proof.gain is None
        assert clock.now_s == (2 * since + 1) * (2 * 4.0 if is_fresh else 1.0)  # twice afresh


@pytest.mark.parametrize(
    ("error", "why", "times"),
    [
        ("the port is taken", "", 3.0),  # once: the rounds begin anew
        ("CUDA out of memory", "a fresh one with faster fails (RuntimeError: CUDA out of", 2.0),
    ],
)
def test_what_may_be_no_fault_of_the_changes_is_none(error: str, why: str, times: float) -> None:
    """A process that meets something once, and one that lacks the memory which this one holds."""
    clock, errors = Clock(), [error]
    here, fresh = trials(clock, 1.0), Fresh(clock, 4.0)
    made = fresh.trial

    def failing(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            if changes and number == 1 and errors:
                raise RuntimeError(errors.pop())
            return made(changes)(number)

        return measure

    fresh.trial = failing
    proof = Proof(here, clock.left_s, BUDGET_S, afresh=fresh)
    proof.run(CHOSEN, trial_s=1.0)
    assert not proof.fails
    assert proof.why_here.startswith(why)
    assert bool(proof.why_here) == bool(why)
    assert proof.gain is not None
    assert math.exp(proof.gain.mean) == pytest.approx(times, rel=0.01)


@pytest.mark.parametrize(("trial_s", "was_cut"), [(1.0, False), (30.0, True)])
def test_rounds_that_time_cuts_short_are_told(trial_s: float, was_cut: bool) -> None:
    """Once, when they end: later there is never time left."""
    clock = Clock()
    proof = Proof(trials(clock, trial_s), clock.left_s, BUDGET_S)
    proof.run(CHOSEN, trial_s)
    clock.now_s = 2 * BUDGET_S
    assert proof.was_cut is was_cut
    assert (proof.measured.next_round < 4) is was_cut


@pytest.mark.parametrize("left_out", ["", "its ends fail"])
def test_a_claim_is_of_whole_epochs_or_of_their_steps(left_out: str) -> None:
    """Of both sides alike: of their steps, where what comes once is not known of one of them."""
    clock = Clock()

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            steps_s, once_s = (1.0, 0.0 if left_out else 0.5) if changes else (4.0, 0.5)
            pace = Pace(0.04, 0.0, None)
            why = left_out if changes else ""
            return Timed(steps_s + once_s + number / 1e3, pace, once_s=once_s, left_out=why)

        return measure

    proof = Proof(trial, clock.left_s, BUDGET_S)
    proof.run(CHOSEN, trial_s=1.0)
    assert proof.left_out == left_out
    assert proof.gain is not None
    assert math.exp(proof.gain.mean) == pytest.approx(4.0 if left_out else 3.0, rel=0.01)


def test_time_is_kept_for_fresh_processes() -> None:
    """As long as they take no more than a third of the budget."""
    clock = Clock()
    for process_s, reserve_s in ((1.0, 25.0), (4.0, 32.0), (6.0, 25.0)):
        fresh = Fresh(clock, process_s)
        proof = Proof(trials(clock, 1.0), clock.left_s, BUDGET_S, afresh=fresh)
        assert proof.reserve_s(1.0) == reserve_s
    assert Proof(trials(clock, 1.0), clock.left_s, BUDGET_S).reserve_s(10.0) == 80.0


def test_a_process_times_the_job_of_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all keys of the changes, those that hold for a process too."""
    made = []

    def run(function: Any, *arguments: Any) -> Any:
        made.append(arguments)
        return (Timed(2.0, Pace(0.1, 0.0, None)), Interference(1.0))

    monkeypatch.setattr(fresh_trials, "run_in_fresh_process", run)
    cfg = composed(tmp_path, *QUICK, "data.pipeline=per_sample")
    ours = Ours(cfg, subject_of(prepare(cfg)), lambda config: subject_of(prepare(config)))
    own = Trials(ours, 0.0, Pace(1.0, 0.0, None), None, 0)
    keys = {"cpu.threads": 1, "data.pipeline": "batched"}
    change = Change("both", frozenset({"a"}), frozenset({"input"}), keys=keys)
    fresh = FreshTrials(ours, own, start_s=1.0)
    timed, seen = fresh.watch(lambda: fresh(frozenset({change}))(7))
    ((config, lengths, seed, validating, left_out, variables, in_part),) = made
    assert (timed.epoch_s, seen, seed, validating) == (2.0, Interference(1.0), 7, None)
    assert (left_out, variables, in_part) == ("", {}, False)
    assert (config["cpu"]["threads"], config["data"]["pipeline"]) == (1, "batched")
    log = replace(change, keys={"trainer.log_every_n_steps": 4}, acts=(1, 4))
    fresh(frozenset({log}))(8)
    assert (made[1][1], made[1][-1]) == ((1, 4), True)  # as many steps as it acts in, never whole
    too_slow = frozenset({replace(log, acts=(1, 50))})
    assert fresh.begin(too_slow) == "steps are too slow to time all that acts seldom"
    assert fresh.round_s(0.5) == 2 * (1.0 + (1 + fresh_trials.FITS) * 0.5)
    monkeypatch.setattr(fresh_trials.logging, "disable", lambda level: None)
    fits, whole = [], fresh_trials.whole_fit

    def fit(*given: Any, **named: Any) -> Timed:
        fits.append(whole(*given, **named))
        return fits[-1]

    monkeypatch.setattr(fresh_trials, "whole_fit", fit)
    found, _ = timed_job(config, lengths, 0, None, "", {})
    assert len(fits) == 1 + fresh_trials.FITS  # all of them whole, and none but the first left out
    assert found.epoch_s == fmean(timed.epoch_s for timed in fits[1:])
    assert found.epoch_s == pytest.approx(found.pace.step_s * 6 + found.once_s, rel=0.9)
    assert found.left_out == ""
    ours.close()


SCRIPTS = {"hpml.tune": False, "train": True, None: True}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_is_run_again(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh process imports the program's file; a notebook has none."""
    main = ModuleType("__main__")
    main.__spec__ = name and ModuleSpec(name, None)  # type: ignore[assignment]
    main.__file__ = "here.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert runs_a_script() == SCRIPTS[name]
    del main.__file__
    assert not runs_a_script()


@pytest.mark.stress
def test_a_fresh_process_really_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials of one job have processes of their own, and neither is this one."""
    monkeypatch.setattr(fresh_trials, "runs_a_script", lambda: False)
    cfg = composed(tmp_path, *QUICK)
    ours = Ours(cfg, subject_of(prepare(cfg)), lambda config: subject_of(prepare(config)))
    fresh = FreshTrials(ours, Trials(ours, 0.0, Pace(1.0, 0.0, None), None, 0), 1.0)
    assert fresh.begin(NONE) == ""
    for number in range(2):
        timed, seen = fresh.watch(lambda number=number: fresh(NONE)(number))
        assert timed.epoch_s > 0
        assert seen is not None
        assert seen.wall_s > 0
    ours.close()
    assert os.getpid() != fresh_trials.run_in_fresh_process(os.getpid)
