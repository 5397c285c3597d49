"""What the trials of a job show, in figures: what an epoch would take without each cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from hpml.records.phases import COMMUNICATION, COMPUTE, INPUT, OVERHEAD, TRANSFER
from hpml.statistics import Estimate, anytime_estimate
from hpml.system.interference import Interference
from hpml.timing.advice import UNKNOWN, JobFacts
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.trials.pace import STEPS_SHOWN, Pace
from hpml.trials.rounds import estimate_of

AS_IT_IS = "as_it_is"
AGAIN = "as_it_is_again"  # within the same round: what the two differ by, no cause has taken
ONE_THREAD = "one_thread"
LOADER_ALONE = "loader_alone"
# The trial that each cause is taken out of.
CAUSES = {
    INPUT: "loading_free",
    TRANSFER: "transfer_free",
    COMPUTE: "compute_free",
    OVERHEAD: "hooks_free",
    COMMUNICATION: "communication_free",
}
WITH_LOADING = (
    *(AS_IT_IS, AGAIN, ONE_THREAD, LOADER_ALONE),
    *("transfer_free", "compute_free", "hooks_free", CAUSES[COMMUNICATION]),
)
# Of a device's step the host's part hides behind it, unless it is almost all of it.
HOST_LIMITS = 0.9


@dataclass
class Figures:
    """Figures of a job's trials. All times are of training alone, without validation."""

    paces: Mapping[str, Sequence[Pace]]  # one a round, of `with_all` and `without_NAME` too
    epoch_steps: int | None  # training batches an epoch; None where only the loader knows
    facts: JobFacts = UNKNOWN
    notes: list[str] = field(default_factory=list)  # what could not be done, in sentences
    flops_per_step: float | None = None  # forward and backward; None where it was not counted
    ceiling_flops_per_s: float | None = None  # what a matrix product reaches on this machine
    trial_steps: int = 0  # that were measured in each trial
    interference: Interference | None = None  # of the trials as it is; None where nobody knows
    round_s: float | None = None  # of the budget, for each round
    # whether the rounds ended as soon as the case was clear: intervals then hold whenever one looks
    ended_early: bool = False
    places: Sequence[Mapping[str, Any]] = ()  # host and device of each rank; none for one process

    @property
    def steps(self) -> int:
        """Steps of the times that are given: an epoch's, or STEPS_SHOWN."""
        return self.epoch_steps or STEPS_SHOWN

    @property
    def rounds(self) -> int:
        return len(self.paces[AS_IT_IS])

    @property
    def start_s(self) -> float:
        """What the loader's start adds to an epoch."""
        if self.epoch_steps is None:
            return 0.0
        starts = [pace.start_s for pace in self.paces[AS_IT_IS] if pace.start_s is not None]
        starts = starts or [pace.start_s or 0.0 for pace in self.paces.get(LOADER_ALONE, ())]
        return fmean(starts) if starts else 0.0

    def epochs(self, trial: str) -> list[float]:
        """Seconds of an epoch in each round of a trial. Raises KeyError for one there was not."""
        starts = self._starts if trial in WITH_LOADING else [0.0] * self.rounds
        pairs = zip(self.paces[trial], starts, strict=False)
        return [self.steps * pace.step_s + start_s for pace, start_s in pairs]

    def steady_epochs(self, trial: str, figure: str = "step_s") -> list[float]:
        """Seconds of an epoch with the mean start in each; or of another figure of its steps."""
        return [self.start_s + self.steps * getattr(pace, figure) for pace in self.paces[trial]]

    def known(self, values: list[float]) -> Estimate:
        """Of the rounds' values, by an interval that holds for as many as there came to be."""
        return looked_at(values) if self.ended_early else estimate_of(values)

    def epoch_s(self, trial: str) -> Estimate:
        return self.known(self.epochs(trial))

    def saved_s(self, trial: str) -> Estimate | None:
        """Seconds by which an epoch is shorter than as it is; None where there was no trial."""
        return self.known(self._saved(trial)) if trial in self.paces else None

    @property
    def waited_s(self) -> Estimate:
        """Seconds of an epoch, as it is, in which the loop waits for data."""
        return self.known(self.steady_epochs(AS_IT_IS, "wait_s"))

    @property
    def overlap(self) -> Estimate | None:
        """How much of loading and computing, whichever is shorter, goes on at the same time.

        1 for all of it, 0 for none; below 0 they disturb each other. None where one of them is
        next to nothing, so that nothing can be said.
        """
        if LOADER_ALONE not in self.paces:
            return None
        shares = []
        trials = (AS_IT_IS, CAUSES[INPUT], LOADER_ALONE)
        for whole, without, loading in zip(*map(self.epochs, trials), strict=False):
            shorter = min(without, loading)
            if shorter <= LEAST_MARGIN * whole:
                return None
            shares.append((without + loading - whole) / shorter)
        return self.known(shares)

    @property
    def utilisation(self) -> float | None:
        """The part of the machine's matrix product that the step reaches with loading free."""
        if self.flops_per_step is None or self.ceiling_flops_per_s is None:
            return None
        step_s = fmean(pace.step_s for pace in self.paces[CAUSES[INPUT]])
        return self.flops_per_step / step_s / self.ceiling_flops_per_s

    @property
    def callbacks(self) -> dict[str, Estimate]:
        """Seconds of an epoch that each callback costs, the dearest first; only if tried."""
        epochs = {t: self.steady_epochs(t) for t in self.paces if t.startswith("without_")}
        costs = {
            trial.removeprefix("without_"): differences(self.steady_epochs("with_all"), without)
            for trial, without in epochs.items()
        }
        return _largest_first({name: looked_at(seconds) for name, seconds in costs.items()})

    @property
    def gains(self) -> dict[str, Estimate]:
        """Seconds of an epoch that go with each cause, at most, the most first."""
        return _largest_first({c: self.known(s) for c, s in self.gains_by_round.items()})

    @property
    def gains_by_round(self) -> dict[str, list[float]]:
        """The same, with one value a round."""
        tried = {cause: trial for cause, trial in CAUSES.items() if trial in self.paces}
        gains = {cause: self._saved(trial) for cause, trial in tried.items()}
        if "loop_alone" in self.paces and self.host_counts:
            none = [0.0] * self.rounds
            # the least that an epoch takes however fast the rest is: where workers load, loading
            behind_workers = self.facts.num_workers and LOADER_ALONE in self.paces
            hidden_s = self.epochs(LOADER_ALONE) if behind_workers else none
            hooks, loops = gains.get(OVERHEAD, none), self.epochs("loop_alone")
            rounds = zip(hooks, loops, self.epochs(AS_IT_IS), hidden_s, strict=False)
            gains[OVERHEAD] = [
                gain + max(0.0, min(loop, whole - gain - hidden))
                for gain, loop, whole, hidden in rounds
            ]
        return gains

    @property
    def floor_s(self) -> float:
        """What the same work done twice within a round differs by; 0 where it was done once."""
        if AGAIN not in self.paces:
            return 0.0
        return estimate_of(differences(self.epochs(AS_IT_IS), self.epochs(AGAIN))).floor

    @property
    def host_counts(self) -> bool:
        """Whether Lightning's own loop adds to the step, rather than hide behind the device."""
        if not self.facts.on_gpu or "host_alone" not in self.paces:
            return True
        return self.epoch_s("host_alone").mean >= HOST_LIMITS * self.epoch_s("loading_free").mean

    @property
    def largest_of_overhead(self) -> tuple[str, float] | None:
        """The callback that costs most, or Lightning's loop, and its share of the overhead."""
        whole = self.gains[OVERHEAD].mean if OVERHEAD in self.gains else 0.0
        costs = {name: cost.mean for name, cost in self.callbacks.items()}
        if "loop_alone" in self.paces and self.host_counts:
            costs["loop"] = self.epoch_s("loop_alone").mean
        if hooks := self.saved_s("hooks_free"):
            of_callbacks = sum(cost.mean for cost in self.callbacks.values())
            costs["hooks and schedulers of the module"] = hooks.mean - of_callbacks
        if not costs or whole <= 0:
            return None
        name = max(costs, key=lambda name: costs[name])
        return name, min(1.0, costs[name] / whole)

    @property
    def _starts(self) -> list[float]:
        """What the loader's start adds to an epoch, in each round."""
        if not self.epoch_steps:
            return [0.0] * self.rounds
        alone = [pace.start_s for pace in self.paces.get(LOADER_ALONE, ())] + [None] * self.rounds
        return [self.start_s if start_s is None else start_s for start_s in alone[: self.rounds]]

    def _saved(self, trial: str) -> list[float]:
        return differences(self.epochs(AS_IT_IS), self.epochs(trial))


def difference(first: Figures, second: Figures) -> list[Estimate]:
    """By how much a first job's epochs exceed a second one's; the part of it that waits for data,
    and the rest; by how much those of the loader alone do.

    Differences within the rounds, which both jobs have had side by side.
    """
    jobs = (first, second)
    waits = [job.steady_epochs(AS_IT_IS, "wait_s") for job in jobs]
    epochs = [job.steady_epochs(AS_IT_IS) for job in jobs]
    loading = [job.steady_epochs(LOADER_ALONE) for job in jobs]
    rests = [differences(*pair) for pair in zip(epochs, waits, strict=True)]
    return [estimate_of(differences(*pair)) for pair in (epochs, waits, rests, loading)]


def is_sure(difference: Estimate, floor_s: float = 0.0) -> bool:
    half = difference.half_width
    return half is not None and abs(difference.mean) > max(half, floor_s)


def differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Within the rounds that both have."""
    return [a - b for a, b in zip(first, second, strict=False)]


def part_of(seconds: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """What some seconds of each round are of others: a slow round has both. Holds at each look."""
    return looked_at(
        [part / max(whole, 1e-9) for part, whole in zip(seconds, wholes, strict=False)]
    )


def looked_at(values: list[float]) -> Estimate:
    """Of rounds that ended by what they showed: an interval that holds whenever one looks."""
    found = anytime_estimate(values)
    assert found is not None
    return replace(estimate_of(values), mean=found.mean, half_width=found.half_width)


def _largest_first(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return dict(sorted(estimates.items(), key=lambda item: -item[1].mean))
