"""Short fits of a job with an intervention each, for the rounds of `hpml.trials.rounds`."""

from collections.abc import Mapping

from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace
from hpml.trials.rounds import Candidate
from hpml.trials.subject import Subject

MOST_TIMES = 10  # as many steps


def candidates_of(
    subject: Subject,
    interventions: Mapping[str, Intervention],
    warm_up: int,
    measured: int,
    step_s: float = 0.0,
) -> dict[str, Candidate[Pace]]:
    """A short fit with each intervention; a round's number seeds it.

    A few steps that are quick tell little of how quick they are: where an intervention's take less
    than half of `step_s`, it has several times as many measured ones, for about as long.
    """
    times: dict[str, int] = {}

    def fit(name: str, number: int) -> Pace:
        if interventions[name].loading or interventions[name].transfer:
            subject.keep_batches_of(number, measured)
        steps = measured * times.get(name, 1)
        return subject.fit(interventions[name], warm_up, steps, number)

    def trial(name: str) -> Candidate[Pace]:
        def measure(number: int) -> Pace:
            pace = fit(name, number)
            if name not in times:
                times[name] = max(1, min(MOST_TIMES, int(step_s / max(pace.step_s, 1e-9))))
                pace = fit(name, number) if times[name] > 1 else pace
            return pace

        return measure

    return {name: trial(name) for name in interventions}
