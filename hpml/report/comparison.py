"""Runs compared: their settings ranked, and what else differs between them, in words."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hpml.config.conf import lower_is_better
from hpml.formatting import counted, decimals, listed
from hpml.report import disturbances
from hpml.report.collect import ACCURACY, TIMED_FROM, Run, clean, collect, in_words
from hpml.report.disturbances import MOST_NAMED, Span
from hpml.report.settings import Setting, find_settings, number
from hpml.statistics import Estimate, Standing, estimate, standings

# What a comparison wants to be the same for all runs, by its key in the record's environment.
SAME = {
    **{"cpu": "processor", "cpu_cores": "usable cores", "accelerators": "accelerators"},
    **{"device": "device", "python": "Python", "torch": "torch", "cuda": "CUDA"},
    **{"lightning": "Lightning", "hpml": "hpml", "git_commit": "commit", "code": "code"},
    "jobs_at_once": "jobs at once on the machine",
}
RATE = "optimizer.lr"
NOTHING = "–"  # where there is no figure


@dataclass(frozen=True)
class Measure:
    """A figure by which settings are ranked."""

    name: str  # in the record
    title: str
    best: str  # what the best setting is called
    higher_is_better: bool = False
    unit: str = "s"  # or `%`, or nothing

    def shown(self, estimate: Estimate | None, with_unit: bool = True) -> str:
        """`2.31 ± 0.05 s`, `84.1 ± 0.4%`; a single run has no interval."""
        if estimate is None:
            return NOTHING
        scale = 100 if self.unit == "%" else 1
        spec = f".{decimals(estimate.mean)}f" if self.unit == "s" else ".2f" if self.unit else ".4g"
        text = f"{scale * estimate.mean:{spec}}"
        if estimate.half_width is not None:
            text += f" ± {scale * estimate.half_width:{spec if self.unit else '.2g'}}"
        return text + {"s": " s"}.get(self.unit, self.unit) * with_unit


EPOCH = Measure("epoch_s", "time of an epoch", "fastest")
STEADY = Measure("steady_epoch_s", "time of an epoch after the first", "fastest")


@dataclass(frozen=True)
class Ranked:
    setting: Setting
    estimate: Estimate | None
    standing: Standing | None
    span: Span | None = None  # of a time
    in_doubt: bool = False  # others disturbed it too much for a place: it stands at None
    may_lead: bool = False  # without what it lost it may be ahead of the first one


class Comparison:
    """The runs under some paths, compared. Its parts are computed when they are first used."""

    def __init__(self, paths: Sequence[Path]) -> None:
        runs, self.left_out = collect(paths)
        self.evaluations = [run for run in runs if run.record.evaluation is not None]
        self.runs = [run for run in runs if run.record.evaluation is None]
        self.settings = find_settings(self.runs)

    @cached_property
    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for setting in self.settings for key in setting.values))

    @cached_property
    def unfinished(self) -> list[Run]:
        """The runs that failed, were interrupted, or are still at work."""
        return [run for run in self.runs if not run.completed]

    @cached_property
    def time(self) -> Measure:
        """The epoch's time: without the first epoch where most completed runs have another."""
        completed = [run for run in self.runs if run.completed]
        steady = sum(run.measures["steady_epoch_s"] is not None for run in completed)
        return STEADY if 2 * steady > len(completed) else EPOCH

    @cached_property
    def quality(self) -> Measure:
        """What `monitor` names in all runs; else the accuracy in validation."""
        names = {clean(str(run.record.config.get("monitor", ACCURACY))) for run in self.runs}
        name = names.pop() if len(names) == 1 else ACCURACY
        modes = {run.record.config.get("monitor_mode", "auto") for run in self.runs}
        mode = modes.pop() if len(modes) == 1 else "auto"
        unsplit = all(run.leaves.get("data.val_split") == 0 for run in self.runs)
        title = f"last {name}" + ", on the test set" * (unsplit and name.startswith("val/"))
        return Measure(
            name,
            title,
            "best",
            not lower_is_better(name, mode),
            "%" if name.endswith("accuracy") else "",
        )

    def ranked(self, measure: Measure) -> list[Ranked]:
        """The settings, the best first; below, those in doubt, and those without the measure."""
        is_time = measure.name in TIMED_FROM
        spans = [disturbances.span(s, measure.name) if is_time else None for s in self.settings]
        doubts = disturbances.in_doubt(spans)
        by_seed = [setting.by_seed(measure.name) for setting in self.settings]
        every = [setting.all_of(measure.name) for setting in self.settings]
        certain = [[] if doubt else values for values, doubt in zip(every, doubts, strict=True)]
        outcome = standings(by_seed, certain, measure.higher_is_better)
        ranks = map(Ranked, self.settings, map(estimate, every), outcome, spans, doubts)
        sign = -1 if measure.higher_is_better else 1

        def place(rank: Ranked) -> tuple[bool, float]:
            return rank.in_doubt, sign * rank.estimate.mean if rank.estimate else math.inf

        return _without_a_fastest(sorted(ranks, key=place))

    @cached_property
    def by_time(self) -> list[Ranked]:
        return self.ranked(self.time)

    @cached_property
    def by_quality(self) -> list[Ranked]:
        return self.ranked(self.quality)

    @property
    def has_repeats(self) -> bool:
        return any(len(setting.completed) > 1 for setting in self.settings)

    @property
    def has_ties(self) -> bool:
        return any(rank.standing == "tied" for rank in self.by_time + self.by_quality)

    @cached_property
    def has_disturbed(self) -> bool:
        """Whether a run has a time that others disturbed."""
        each = (disturbances.is_disturbed(run, name) for run in self.runs for name in TIMED_FROM)
        return any(each)

    @cached_property
    def in_order(self) -> list[Setting]:
        """The settings that completed: by a numeric key where it alone varies, else by rank.

        They rank by quality where only the optimizer and its schedule vary.
        """
        ranks = self.by_quality if about_learning(self.keys) else self.by_time
        settings = [rank.setting for rank in ranks if rank.setting.completed]
        if self.is_by_number:
            settings.sort(key=lambda setting: number(setting, self.keys[0]) or 0.0)
        return settings

    @cached_property
    def is_by_number(self) -> bool:
        """Whether one key alone varies, and is a number."""
        numbers = [number(setting, key) for setting in self.settings for key in self.keys]
        return len(self.keys) == 1 and None not in numbers

    @property
    def order(self) -> str:
        """By what `in_order` is sorted, in words."""
        measure = self.quality if about_learning(self.keys) else self.time
        return self.keys[0] if self.is_by_number else measure.title

    @cached_property
    def sentences(self) -> list[str]:
        """Which setting is fastest and which is best, and which are tied with it."""
        rankings = ((self.time, self.by_time), (self.quality, self.by_quality))
        return [text for measure, ranks in rankings if (text := in_a_sentence(measure, ranks))]

    @cached_property
    def differences(self) -> list[str]:
        """What differs between completed runs besides their settings: hardware and versions.

        A comparison of devices may differ in the device.
        """
        machines = [
            run.record.environment | {"code": run.record.code_fingerprint[:8] or None}
            for run in self.runs
            if run.completed
        ]
        by_title = {
            title: Counter(in_words(machine.get(key)) for machine in machines if key in machine)
            for key, title in SAME.items()
            if key not in ("device", "accelerators") or "device" not in self.keys
        }
        by_title["epochs of one setting"] = Counter(
            str(len(run.epochs))
            for setting in self.settings
            if len({len(run.epochs) for run in setting.completed}) > 1
            for run in setting.completed
        )
        return [
            f"{title}: " + ", ".join(f"{v} ({counted(n, 'run')})" for v, n in values.items())
            for title, values in by_title.items()
            if len(values) > 1
        ]

    @cached_property
    def disturbances(self) -> list[str]:
        """Which runs others disturbed, and by what; which ones they may have disturbed."""
        return disturbances.sentences(self.runs)

    @cached_property
    def chosen(self) -> list[tuple[Ranked, int]]:
        """Of optimizers that were swept over learning rates: the best of each, out of how many.

        Where other keys vary too, for each of their combinations.
        """
        if not {"optimizer", RATE} <= set(self.keys):
            return []
        of_each: dict[tuple[str, ...], list[Ranked]] = {}
        for rank in self.by_quality:
            if rank.estimate is not None and number(rank.setting, RATE) is not None:
                others = tuple(v for key, v in rank.setting.values.items() if key != RATE)
                of_each.setdefault(others, []).append(rank)
        return [(ranks[0], len(ranks)) for ranks in of_each.values() if len(ranks) > 1]


def in_a_sentence(measure: Measure, ranks: Sequence[Ranked]) -> str:
    """`fastest: adam, 2.31 ± 0.05 s …; tied with it: sgd`; nothing where there is no choice."""
    ranked = [(rank, rank.estimate) for rank in ranks if rank.estimate is not None]
    if len(ranked) < 2:
        return ""
    first, figure = ranked[0]
    if len({estimate.mean for _, estimate in ranked}) == 1:
        return f"{measure.title}: {measure.shown(figure)} in all settings"
    doubted = [rank.setting.name for rank, _ in ranked if rank.in_doubt]
    not_ranked = f"; not ranked, being disturbed: {listed(doubted, MOST_NAMED)}" if doubted else ""
    if above := [rank.span for rank in ranks if rank.span and rank.may_lead]:
        above.sort(key=lambda span: span.lowest_s - span.time_s)
        lost = listed([f"{span.name} {span.in_words}" for span in above], MOST_NAMED)
        text = f"no {measure.best} can be named ({measure.title}): {first.setting.name} took "
        return f"{text}{measure.shown(figure)}, but {lost}{not_ranked}"
    text = f"{measure.best}: {first.setting.name}, {measure.shown(figure)} ({measure.title})"
    if first.standing == "untested":
        text += ", in one run, which is too few to tell it from chance: sweep seed=0,1,2"
        best = next((pair for pair in ranked if pair[0].standing == "best"), None)
        if best is None or doubted:
            return text + not_ranked
        text += f"; of what ran again: {best[0].setting.name}, {measure.shown(best[1])}"
    tied, worse, untested = (
        [rank.setting.name for rank, _ in ranked if rank.standing == standing]
        for standing in ("tied", "worse", "untested")
    )
    if tied and (worse or len(tied) == 1):
        text += f"; tied with it: {listed(tied, MOST_NAMED)}"
    elif tied:
        text += "; no other can be told from it"
    elif worse:
        text += "; ahead of all others" + " that ran again" * bool(untested)
    untested = [name for name in untested if name != first.setting.name]
    if untested:
        text += f"; not compared, for want of a second run: {listed(untested, MOST_NAMED)}"
    return text + not_ranked


def _without_a_fastest(ranks: list[Ranked]) -> list[Ranked]:
    """The same; where others may have lost their lead to interference, none of them has a place.

    Of what was not disturbed, and is tied anyway, nobody says that it is slower.
    """

    def may_lead(rank: Ranked, first: Ranked) -> bool:
        if rank is first or rank.span is None or first.span is None or rank.span.lost_s == 0:
            return False
        tied = rank.standing == "tied" and not rank.span.disturbed
        return not tied and not first.span.is_below(rank.span)

    leading = [may_lead(rank, ranks[0]) for rank in ranks]
    if not any(leading):
        return ranks
    pairs = zip(ranks, leading, strict=True)
    return [replace(rank, standing=None, may_lead=leads) for rank, leads in pairs]


def about_learning(keys: Sequence[str]) -> bool:
    """Whether keys change what is learned, and hardly how long it takes."""
    return bool(keys) and all(key.partition(".")[0] in ("optimizer", "scheduler") for key in keys)
