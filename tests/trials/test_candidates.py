"""Short fits with interventions: how long each is."""

from typing import Any

import pytest

from hpml.trials.candidates import MOST_TIMES, candidates_of
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace


class Job:
    """A subject whose steps take so long, by intervention."""

    def __init__(self, steps_s: dict[str, float]) -> None:
        self.steps_s = steps_s
        self.fits: list[tuple[str, int, int]] = []  # trial, steps and round
        self.kept: list[tuple[int, int]] = []  # round and batches

    def keep_batches_of(self, number: int, count: int) -> None:
        self.kept.append((number, count))

    def fit(self, intervention: Intervention, warm_up: int, measured: int, seed: int) -> Pace:
        name = next(name for name in self.steps_s if INTERVENTIONS[name] is intervention)
        self.fits.append((name, measured, seed))
        return Pace(self.steps_s[name], 0.0, None)


INTERVENTIONS = {
    "as it is": Intervention(),
    "a third": Intervention(loading=True),
    "little": Intervention(compute=True),
    "nothing": Intervention(hooks=True),
}


@pytest.mark.parametrize(("step_s", "times"), [(0.3, (1, 3, 10, 10)), (0.0, (1, 1, 1, 1))])
def test_quick_steps_are_more(step_s: float, times: tuple[int, ...]) -> None:
    """From the first round on: what counts is measured again by as many as take about as long."""
    job: Any = Job({"as it is": 0.3, "a third": 0.099, "little": 0.001, "nothing": 0.0})
    trials = candidates_of(job, INTERVENTIONS, 1, 4, step_s)
    assert max(times) in (1, MOST_TIMES)
    for number in (0, 1):
        for name, many in zip(INTERVENTIONS, times, strict=True):
            job.fits.clear()
            trials[name](number)
            first = [(name, 4, number)] if many == 1 or number == 0 else []
            assert job.fits == first + [(name, 4 * many, number)] * (many > 1)
    # whatever its steps, a trial has the batches that the job as it is has in the round
    assert {count for _, count in job.kept} == {4}
    assert {number for number, _ in job.kept} == {0, 1}
