"""A diagnosis in words: the table, the verdict, and the comparison of two."""

import math
from dataclasses import asdict, replace
from typing import Any

from hpml.config.lab_advice import advised
from hpml.diagnosis.late_rank import DOES, LateRank, RankInference
from hpml.diagnosis.saving_in_words import at_most
from hpml.diagnosis.trial_figures import (
    AGAIN,
    AS_IT_IS,
    CAUSES,
    LOADER_ALONE,
    ONE_THREAD,
    difference,
    is_sure,
)
from hpml.formatting import counted, duration_in_words, in_s, table
from hpml.loading.stages import LoaderStages
from hpml.records.phases import COMMUNICATION, COMPUTE, INPUT, OVERHEAD, TRANSFER
from hpml.statistics import Estimate
from hpml.timing.advice import advise, fewer_threads
from hpml.timing.imbalance import IMBALANCE, advise_rank
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.timing.rank_comparison import Late
from hpml.trials.pace import STEPS_SHOWN
from hpml.trials.rounds import estimate_of

TITLES = {
    AS_IT_IS: "as it is",
    ONE_THREAD: "with one thread",
    "loading_free": "with loading free",
    "transfer_free": "with the transfer free",
    "compute_free": "with computing free",
    "hooks_free": "without callbacks, loggers and hooks",
    CAUSES[COMMUNICATION]: "with communication free",
    "host_alone": "with loading and computing free",
    "loop_alone": "Lightning's loop alone",
    LOADER_ALONE: "the loader alone",
}
# What `hpml.timing` calls what a rank is late in.
LATE_IN = {INPUT: "data", TRANSFER: "transfer", COMPUTE: "forward", OVERHEAD: "callbacks"}
# An overlap that is known no better than this is not reported.
MOST_UNSURE = 0.3
# What a step has that computes faster than a matrix product.
BEYOND = (
    ": more than all, so its kernels leave out some of the operations counted (as attention behind "
    "a mask does, or a convolution by Winograd), or the product was measured too slow"
)


class Diagnosis(RankInference):
    """What a job's trials have shown; `print` shows it as a table with a verdict."""

    loader: LoaderStages | None = None  # taken apart, where the job waits for data

    def __str__(self) -> str:
        return "\n".join(self.lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from hpml.diagnosis.notebook_cell import html  # and matplotlib

        return html(self.as_dict(), self.interval)

    @property
    def verdict(self) -> dict[str, str]:
        """The record's `verdict`: kind, basis, evidence, advice."""
        kind, evidence, advice = self._judged()
        return {"kind": kind, "basis": "intervention", "evidence": evidence, "advice": advice}

    def _judged(self) -> tuple[str, str, str]:
        """Kind, evidence and advice."""
        if self.thread_bound:  # the workers are no part of what was tried
            advice = fewer_threads(replace(self.facts, num_workers=None))
            evidence, seen = self._proof(ONE_THREAD), self.interference
            if seen is not None and seen.disturbed:
                evidence += f"; beside others: {seen.in_words('its trials as it is')}"
            return "thread-bound", evidence, advice
        if seen := self.disturbed:
            return "disturbed", seen.in_words("its trials as it is"), seen.advice
        if late := self.imbalance:
            return IMBALANCE, self._proof_of(late), self._advice_for(late)
        first, *others = list(self.gains)[:2]
        if self.cause is None:
            advice = "No single cost stands out: change one setting at a time, and compare"
            if self.lead_s.mean > self._least_s:
                rounds = counted(self.rounds, "round")
                advice = f"The largest cost is likely {first}, which {rounds} cannot tell from the "
                advice += "next: measure for longer"
            if (needed_s := self.needed_s) is not None:
                key = advised("diagnose.budget_s={}") if self.facts.keys else "budget_s={}"
                budget = key.format(_rounded(needed_s))
                advice = f"{duration_in_words(needed_s)} may tell them apart".capitalize()
                advice += f" ({budget}), if the machine stays as quiet"
            evidence = "; ".join(self._proof(CAUSES[cause]) for cause in (first, *others))
            return "inconclusive", evidence, advice
        facts = self.facts
        if ONE_THREAD in self.paces and not (facts.keys or self.one_thread_helps):
            facts = replace(facts, spins=False)  # one thread was tried, and brought too little
        facts = replace(facts, dearest_stage=self.loader.cost if self.loader else None)
        start_share = self.start_s / self.waited_s.mean if self.waited_s.mean else 0.0
        largest = self.largest_of_overhead
        advice = advise(first, facts, largest, start_share, of="the overhead")
        return f"{first}-bound", self._proof(CAUSES[first]), advice

    def _proof_of(self, late: LateRank) -> str:
        does = DOES[late.cause]
        return (
            f"{self.rank_in_words(late.rank)} takes {in_s(late.own_s)} an epoch by itself, "
            f"{in_s(late.late_s)} more than the others, which wait for it; with {does} free there "
            f"it takes {in_s(late.without_s)}"
        )

    def _advice_for(self, late: LateRank) -> str:
        facts = replace(self.facts, dearest_stage=self.loader.cost if self.loader else None)
        named = Late(late.rank, LATE_IN[late.cause], late.late_s.mean)
        return advise_rank(named, facts, self.largest_of_overhead, 0.0, of="the overhead")

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """What each trial is called, how long an epoch takes in it, and what that saves."""
        rows = []
        whole = self.epoch_s(AS_IT_IS).mean
        for trial, title in TITLES.items():
            if trial in self.paces:
                tried = trial in (*CAUSES.values(), ONE_THREAD)
                saved = self.saved_s(trial) if tried else None
                saves = at_most(saved, whole) if saved else ""
                if self.places and trial == "host_alone":
                    title = "with loading, computing and communication free"
                rows.append((title, self.epoch_in_words(trial), saves))
        costs = self.callbacks.items()
        return rows + [(f"without {name}", "", at_most(cost)) for name, cost in costs]

    def epoch_in_words(self, trial: str) -> str:
        """`3.28 ± 0.25 s`; the range of its rounds where the interval would tell less."""
        return in_s(self.epoch_s(trial))

    @property
    def sentences(self) -> list[str]:
        """What was found besides the verdict."""
        sentences = []
        overlap = self.overlap
        if overlap is not None and (overlap.half_width or 0.0) < MOST_UNSURE:
            sentences.append(
                f"loading and computing overlap by {min(1.0, max(0.0, overlap.mean)):.0%} of the "
                "shorter one"
                if overlap.mean > -LEAST_MARGIN
                else "loading and computing disturb each other: together they take "
                f"{-overlap.mean:.0%} of the shorter one longer than one after the other"
            )
        if self.utilisation is not None and self.ceiling_flops_per_s is not None:
            sentences.append(
                f"with loading free the step computes at {self.utilisation:.2%} of what a matrix "
                f"product reaches here ({self.ceiling_flops_per_s / 1e9:,.0f} GFLOP/s)"
                + (BEYOND if self.utilisation > 1 else "")
            )
        alone = self.saved_s(ONE_THREAD)
        if alone is not None and self.one_thread_helps and not self.thread_bound:
            sentences.append(f"one thread alone is faster too: it saves {in_s(alone)} of an epoch")
        if AGAIN in self.paces:
            floor = in_s(Estimate(self.floor_s, None, 1))
            sentences.append(
                f"the same work twice differs by ± {floor}: what is less cannot be told apart here"
            )
        return sentences + self.notes

    @property
    def interval(self) -> str:
        """What stands behind each ±."""
        whenever = " that holds whenever one looks," if self.ended_early else ""
        return f"± is a 95 % interval{whenever} over {counted(self.rounds, 'round')}"

    @property
    def lines(self) -> list[str]:
        what = "an epoch" if self.epoch_steps else f"{STEPS_SHOWN:,} steps"
        verdict = self.verdict
        return [
            *table([("", what, "saves at most"), *self.rows], "<>>"),
            f"  training alone, without validation and checkpoints; {self.steps:,} steps",
            f"  {self.interval} of {counted(self.trial_steps, 'step')} or more: what comes less "
            "often is not seen",
            *self.rank_lines,
            *self.sentences,
            *(self.loader.lines if self.loader else ()),
            f"{verdict['kind']}: {verdict['evidence']}",
            f"  {verdict['advice']}",
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "epoch_steps": self.epoch_steps,
            "trial_steps": self.trial_steps,
            "ended_early": self.ended_early,
            "epoch_s": {t: asdict(self.epoch_s(t)) for t in TITLES if t in self.paces},
            "saved_s": {cause: asdict(gain) for cause, gain in self.gains.items()},
            "saved_by_one_thread_s": asdict(alone) if (alone := self.saved_s(ONE_THREAD)) else None,
            "waited_s": asdict(self.waited_s),
            "floor_s": self.floor_s if AGAIN in self.paces else None,
            "needed_s": self.needed_s,
            "interference": self.interference and self.interference.as_dict(),
            "callbacks_s": {name: asdict(cost) for name, cost in self.callbacks.items()},
            "overlap": asdict(self.overlap) if self.overlap else None,
            "flops_per_step": self.flops_per_step,
            "ceiling_flops_per_s": self.ceiling_flops_per_s,
            "utilisation": self.utilisation,
            "loader": self.loader and self.loader.as_dict(),
            "ranks": self.ranks_as_dict,
            "verdict": self.verdict,
            "sentences": self.sentences,
            "rows": self.rows,
            "notes": self.notes,
            "paces": {trial: [asdict(pace) for pace in of] for trial, of in self.paces.items()},
        }

    def _proof(self, trial: str) -> str:
        """`with loading free an epoch takes 7.1 s instead of 11.8 s`."""
        what = "an epoch takes" if self.epoch_steps else f"{STEPS_SHOWN:,} steps take"
        whole = self.epoch_in_words(AS_IT_IS)
        if trial == CAUSES[OVERHEAD]:
            rounds = zip(self.epochs(AS_IT_IS), self.gains_by_round[OVERHEAD], strict=False)
            left = in_s(self.known([whole - gain for whole, gain in rounds]))
            title = "without callbacks, loggers, hooks and (calculated) Lightning's loop"
        else:
            left, title = self.epoch_in_words(trial), TITLES[trial]
        return f"{title} {what} {left} instead of {whole}"


def _rounded(seconds: float) -> int:
    """Up, to two digits."""
    size = 10 ** max(0, math.ceil(math.log10(max(1.0, seconds))) - 2)
    return int(math.ceil(seconds / size) * size)


def compare(first: Diagnosis, second: Diagnosis, names: tuple[str, str]) -> list[str]:
    """Sentences: which is faster, by waiting for data or by the rest, and what the loaders do.

    The two ran in the same rounds, so differences are taken within each.
    """
    a, b = names
    floor_s = max(first.floor_s, second.floor_s)
    for seen in (first.disturbed, second.disturbed):
        if seen is not None:
            return [f"{a} and {b} cannot be compared: {seen.in_words('the trials')}", seen.advice]
    whole, waited, rest, loading_differs = difference(first, second)
    times = {a: first.epoch_in_words(AS_IT_IS), b: second.epoch_in_words(AS_IT_IS)}
    if is_sure(whole, floor_s):
        fast, slow = (b, a) if whole.mean > 0 else (a, b)
        sentence = f"{fast} is faster: an epoch takes {times[fast]} instead of "
        sentence += f"{times[slow]} with {slow}, a difference of {in_s(abs(whole))}"
    else:
        sentence = f"{a} and {b} cannot be told apart: an epoch takes {times[a]} and {times[b]}"
    sentences = [sentence]
    apart_from = "waiting for data"
    if is_sure(waited):
        sentences.append(f"{b} waits {in_s(abs(waited))} {_less(waited)} for data than {a}")
        apart_from = "that"
    if is_sure(rest, floor_s):
        took = f"{b} takes {in_s(abs(rest))} {_less(rest)} than {a}"
        sentences.append(f"apart from {apart_from} {took}")
    workers = first.facts.num_workers, second.facts.num_workers
    cores = first.facts.cores
    place = "" if first.facts.on_gpu else f" the {cores} cores" if cores else " the processor"
    opposed = is_sure(rest, floor_s) and is_sure(waited) and rest.mean * waited.mean < 0
    if opposed and workers[0] != workers[1] and any(workers) and place:
        sentences.append(
            "what one of them saves by waiting less, the other saves in the rest: loading in "
            f"processes of its own and training likely share{place}"
        )
    loading = [estimate_of(each.steady_epochs(LOADER_ALONE)) for each in (first, second)]
    if min(each.mean for each in loading) <= 0:
        return sentences
    if not is_sure(loading_differs):
        both = f"{in_s(loading[0])} and {in_s(loading[1])}"
        return [*sentences, f"the loaders alone cannot be told apart: {both}"]
    ratio = loading[0].mean / loading[1].mean
    slow, fast = names if ratio > 1 else names[::-1]
    return [
        *sentences,
        f"the loader alone is {max(ratio, 1 / ratio):.2f} times as fast with {fast} as with {slow}",
    ]


def _less(difference: Estimate) -> str:
    return "less" if difference.mean > 0 else "longer"
