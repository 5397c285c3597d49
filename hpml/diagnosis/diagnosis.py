"""What the trials prove: how long an epoch would take without each cost, and what limits it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from hpml.formatting import counted, in_s
from hpml.statistics import Estimate
from hpml.statistics import trimmed_estimate as estimate
from hpml.timing.advice import UNKNOWN, JobFacts, advise
from hpml.timing.verdict import LEAST_MARGIN
from hpml.trials.pace import Pace

AS_IT_IS = "as_it_is"
TITLES = {
    AS_IT_IS: "as it is",
    "loading_free": "with loading free",
    "transfer_free": "with the transfer free",
    "compute_free": "with computing free",
    "hooks_free": "without callbacks, loggers and hooks",
    "host_alone": "with loading and computing free",
    "loop_alone": "Lightning's loop alone",
    "loader_alone": "the loader alone",
}
# What each cause's trial is called in a sentence.
CAUSES = {
    "input": "loading_free",
    "transfer": "transfer_free",
    "compute": "compute_free",
    "overhead": "hooks_free",
}
WITH_LOADING = (AS_IT_IS, "transfer_free", "compute_free", "hooks_free", "loader_alone")
# An overlap that is known no better than this is not told.
MOST_UNSURE = 0.3
# Where no end of an epoch is known, so many steps are told.
STEPS_TOLD = 1000
# Of a device's step the host's part hides behind it, unless it is almost all of it.
HOST_LIMITS = 0.9


@dataclass
class Diagnosis:
    """What a job's trials have shown. All times are of training alone, without validation.

    Attributes:
        paces: of each trial, one a round; with callbacks, of `with_all` and `without_NAME` too.
        epoch_steps: training batches an epoch; None where only the loader knows.
        trial_steps: that were measured in each trial.
        setting: what the advice has to know.
        notes: what could not be done, in sentences.
        flops_per_step: forward and backward; None where it was not counted.
        ceiling_flops_per_s: what a matrix product reaches on this machine.
    """

    paces: Mapping[str, Sequence[Pace]]
    epoch_steps: int | None
    setting: JobFacts = UNKNOWN
    notes: list[str] = field(default_factory=list)
    flops_per_step: float | None = None
    ceiling_flops_per_s: float | None = None
    trial_steps: int = 0

    @property
    def steps(self) -> int:
        """Of the time that is told: an epoch's, or STEPS_TOLD."""
        return self.epoch_steps or STEPS_TOLD

    @property
    def start_s(self) -> float:
        """What the loader's start adds to an epoch."""
        if self.epoch_steps is None:
            return 0.0
        starts = [pace.start_s for pace in self.paces[AS_IT_IS] if pace.start_s is not None]
        starts = starts or [pace.start_s or 0.0 for pace in self.paces.get("loader_alone", ())]
        return fmean(starts) if starts else 0.0

    def epoch_s(self, trial: str) -> Estimate:
        """Seconds of an epoch in a trial. Raises KeyError for one that there was not."""
        known = estimate(self._epochs(trial))
        assert known is not None
        return known

    def saved_s(self, trial: str) -> Estimate | None:
        """Seconds by which an epoch is shorter than as it is; None where there was no trial."""
        return estimate(self._saved(trial)) if trial in self.paces else None

    @property
    def waited_s(self) -> Estimate:
        """Seconds of an epoch, as it is, in which the loop waits for data."""
        paces = self.paces[AS_IT_IS]
        known = estimate([self.steps * pace.wait_s + self.start_s for pace in paces])
        assert known is not None
        return known

    @property
    def overlap(self) -> Estimate | None:
        """How much of loading and computing, whichever is shorter, goes on at the same time.

        1 for all of it, 0 for none; below 0 they disturb each other. None where one of them is
        next to nothing, so that nothing can be said.
        """
        if "loader_alone" not in self.paces:
            return None
        shares = []
        rounds = zip(
            *(self._epochs(t) for t in (AS_IT_IS, "loading_free", "loader_alone")), strict=False
        )
        for whole, without, loading in rounds:
            shorter = min(without, loading)
            if shorter <= LEAST_MARGIN * whole:
                return None
            shares.append((without + loading - whole) / shorter)
        return estimate(shares)

    @property
    def utilisation(self) -> float | None:
        """The part of the machine's matrix product that the step reaches with loading free."""
        if self.flops_per_step is None or self.ceiling_flops_per_s is None:
            return None
        step_s = fmean(pace.step_s for pace in self.paces["loading_free"])
        return self.flops_per_step / step_s / self.ceiling_flops_per_s

    @property
    def callbacks(self) -> dict[str, Estimate]:
        """Seconds of an epoch that each callback costs, the dearest first; only if tried."""
        with_all = self.paces.get("with_all", ())
        found = {}
        for trial, paces in self.paces.items():
            if trial.startswith("without_"):
                pairs = zip(with_all, paces, strict=False)
                costs = [self.steps * (all_.step_s - one.step_s) for all_, one in pairs]
                if known := estimate(costs):
                    found[trial.removeprefix("without_")] = known
        return dict(sorted(found.items(), key=lambda item: -item[1].mean))

    @property
    def gains(self) -> dict[str, Estimate]:
        """Seconds of an epoch that go with each cause, at most, the most first."""
        found = {cause: estimate(values) for cause, values in self._gains().items()}
        known = {cause: one for cause, one in found.items() if one is not None}
        return dict(sorted(known.items(), key=lambda item: -item[1].mean))

    @property
    def verdict(self) -> dict[str, str]:
        """The record's `verdict`: kind, basis, evidence, advice.

        The cause with the largest gain, where that is larger than the next one's beyond its 95 %
        interval over the rounds, and by LEAST_MARGIN of the epoch; otherwise `inconclusive`.
        """
        by_round = self._gains()
        first, *others = list(self.gains)[:2]  # a single one where no other trial went well
        next_one = by_round[others[0]] if others else [0.0] * self._rounds
        leads = [a - b for a, b in zip(by_round[first], next_one, strict=False)]
        lead, whole = estimate(leads), self.epoch_s(AS_IT_IS)
        assert lead is not None
        told = lead.mean > max(LEAST_MARGIN * whole.mean, lead.half_width or 0.0)
        if not told:
            evidence = "; ".join(self._proof(cause) for cause in (first, *others))
            advice = "No single cost stands out: change one setting at a time, and compare"
            return self._as_verdict("inconclusive", evidence, advice)
        start_share = self.start_s / self.waited_s.mean if self.waited_s.mean else 0.0
        largest = self._largest_of_overhead()
        advice = advise(first, self.setting, largest, start_share, of="the overhead")
        return self._as_verdict(f"{first}-bound", self._proof(first), advice)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """What each trial is called, how long an epoch takes in it, and what that saves."""
        found = []
        for trial, title in TITLES.items():
            if trial in self.paces:
                saved = self.saved_s(trial) if trial in CAUSES.values() else None
                whole = self.epoch_s(AS_IT_IS).mean
                share = f" ({saved.mean / whole:.0%})" if saved and whole else ""
                found.append(
                    (title, in_s(self.epoch_s(trial)), in_s(saved) + share if saved else "")
                )
        found += [(f"without {name}", "", in_s(cost)) for name, cost in self.callbacks.items()]
        return found

    @property
    def sentences(self) -> list[str]:
        """What was found besides the verdict."""
        told = []
        overlap = self.overlap
        if overlap is not None and (overlap.half_width or 0.0) < MOST_UNSURE:
            told.append(
                f"loading and computing overlap by {min(1.0, max(0.0, overlap.mean)):.0%} of the "
                "shorter one"
                if overlap.mean > -LEAST_MARGIN
                else "loading and computing disturb each other: together they take "
                f"{-overlap.mean:.0%} of the shorter one longer than one after the other"
            )
        if self.utilisation is not None and self.ceiling_flops_per_s is not None:
            told.append(
                f"with loading free the step computes at {self.utilisation:.2%} of what a matrix "
                f"product reaches here ({self.ceiling_flops_per_s / 1e9:,.0f} GFLOP/s)"
            )
        return told + self.notes

    @property
    def lines(self) -> list[str]:
        """A table, what was found, the verdict and what to change."""
        what = "an epoch" if self.epoch_steps else f"{STEPS_TOLD:,} steps"
        heading = ("", what, "saves at most")
        widths = [max(len(row[i]) for row in [heading, *self.rows]) for i in range(3)]
        table = [
            f"{name:<{widths[0]}}  {epoch:>{widths[1]}}  {saved:>{widths[2]}}".rstrip()
            for name, epoch, saved in [heading, *self.rows]
        ]
        verdict = self.verdict
        of_it = "  training alone, without validation and checkpoints"
        of_it += f"; {self.steps:,} steps"
        interval = f"  ± is a 95 % interval over {self._rounds} rounds of "
        interval += f"{counted(self.trial_steps, 'step')}: what comes less often is not seen"
        told = [*table, of_it, interval, *self.sentences]
        return [*told, f"{verdict['kind']}: {verdict['evidence']}", f"  {verdict['advice']}"]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: figures, sentences and the verdict."""
        return {
            "epoch_steps": self.epoch_steps,
            "trial_steps": self.trial_steps,
            "epoch_s": {t: asdict(self.epoch_s(t)) for t in TITLES if t in self.paces},
            "saved_s": {cause: asdict(gain) for cause, gain in self.gains.items()},
            "waited_s": asdict(self.waited_s),
            "callbacks_s": {name: asdict(cost) for name, cost in self.callbacks.items()},
            "overlap": asdict(self.overlap) if self.overlap else None,
            "flops_per_step": self.flops_per_step,
            "ceiling_flops_per_s": self.ceiling_flops_per_s,
            "utilisation": self.utilisation,
            "verdict": self.verdict,
            "sentences": self.sentences,
            "rows": self.rows,
            "notes": self.notes,
            "paces": {trial: [asdict(pace) for pace in of] for trial, of in self.paces.items()},
        }

    @property
    def _rounds(self) -> int:
        return len(self.paces[AS_IT_IS])

    def _epochs(self, trial: str) -> list[float]:
        starts = self._starts if trial in WITH_LOADING else [0.0] * self._rounds
        pairs = zip(self.paces[trial], starts, strict=False)
        return [self.steps * pace.step_s + start_s for pace, start_s in pairs]

    @property
    def _starts(self) -> list[float]:
        """What the loader's start adds to an epoch, in each round."""
        by_round = []
        for number in range(self._rounds):
            alone = self.paces.get("loader_alone", ())[number:]
            start_s = alone[0].start_s if alone else None
            by_round.append(self.start_s if start_s is None else start_s)
        return by_round if self.epoch_steps else [0.0] * self._rounds

    def _saved(self, trial: str) -> list[float]:
        return [a - b for a, b in zip(self._epochs(AS_IT_IS), self._epochs(trial), strict=False)]

    def _gains(self) -> dict[str, list[float]]:
        """By cause, one value a round."""
        found = {
            cause: self._saved(trial) for cause, trial in CAUSES.items() if trial in self.paces
        }
        if "loop_alone" in self.paces and self._host_counts:
            hooks = found.get("overhead", [0.0] * self._rounds)
            found["overhead"] = [
                gain + max(0.0, min(loop, whole - gain - hidden))
                for gain, loop, whole, hidden in zip(
                    hooks,
                    self._epochs("loop_alone"),
                    self._epochs(AS_IT_IS),
                    self._behind_workers,
                    strict=False,
                )
            ]
        return found

    @property
    def _behind_workers(self) -> list[float]:
        """The least that an epoch takes however fast the rest is: where workers load, loading."""
        if self.setting.num_workers and "loader_alone" in self.paces:
            return self._epochs("loader_alone")
        return [0.0] * self._rounds

    @property
    def _host_counts(self) -> bool:
        """Whether Lightning's own loop adds to the step, rather than hide behind the device."""
        if not self.setting.on_gpu or "host_alone" not in self.paces:
            return True
        return self.epoch_s("host_alone").mean >= HOST_LIMITS * self.epoch_s("loading_free").mean

    def _largest_of_overhead(self) -> tuple[str, float] | None:
        """The callback that costs most, or Lightning's loop, and its share of the overhead."""
        whole = self.gains["overhead"].mean if "overhead" in self.gains else 0.0
        costs = {name: cost.mean for name, cost in self.callbacks.items()}
        if "loop_alone" in self.paces and self._host_counts:
            costs["loop"] = self.epoch_s("loop_alone").mean
        hooks = self.saved_s("hooks_free")
        if hooks is not None:
            of_callbacks = sum(cost.mean for cost in self.callbacks.values())
            costs["hooks and schedulers of the module"] = hooks.mean - of_callbacks
        if not costs or whole <= 0:
            return None
        name = max(costs, key=lambda name: costs[name])
        return name, min(1.0, costs[name] / whole)

    def _proof(self, cause: str) -> str:
        """`with loading free an epoch takes 7.1 s instead of 11.8 s`."""
        what = "an epoch takes" if self.epoch_steps else f"{STEPS_TOLD:,} steps take"
        trial, whole = CAUSES[cause], self.epoch_s(AS_IT_IS)
        if cause == "overhead":
            pairs = zip(self._epochs(AS_IT_IS), self._gains()[cause], strict=False)
            left = estimate([whole - gain for whole, gain in pairs])
            assert left is not None
            title = "without callbacks, loggers, hooks and (calculated) Lightning's loop"
        else:
            left, title = self.epoch_s(trial), TITLES[trial]
        return f"{title} {what} {in_s(left)} instead of {in_s(whole)}"

    def _as_verdict(self, kind: str, evidence: str, advice: str) -> dict[str, str]:
        return {"kind": kind, "basis": "intervention", "evidence": evidence, "advice": advice}
