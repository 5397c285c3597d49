"""Runs compared: their settings ranked, and what else differs between them, in words."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from hpml.config.conf import lower_is_better
from hpml.formatting import counted, listed
from hpml.report import scaling, times_in_doubt
from hpml.report.collect import ACCURACY, TIMED_FROM, Run, clean, collect, in_words, mean
from hpml.report.ranking import EPOCH, STEADY, Measure, Ranked, in_a_sentence, rank_settings
from hpml.report.settings import Setting, find_settings, is_continuous, number

# What a comparison wants to be the same for all runs, by its key in the record's environment.
SAME = {
    "host": "host",
    **{"cpu": "processor", "cpu_cores": "usable cores", "accelerators": "accelerators"},
    **{"device": "device", "python": "Python", "torch": "torch", "cuda": "CUDA"},
    **{"lightning": "Lightning", "hpml": "hpml", "git_commit": "commit", "code": "code"},
    "jobs_at_once": "jobs at once on the machine",
}
RATE = "optimizer.lr"
MOST = 5  # values of one of these that are named


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

    @cached_property
    def continuous(self) -> list[str]:
        """The keys whose values are numbers, not all of them whole: none of them is the fastest."""
        return [key for key in self.keys if is_continuous(self.settings, key)]

    @cached_property
    def timed(self) -> list[Setting]:
        """The settings; those that differ in continuous keys alone are one."""
        if not self.continuous:
            return self.settings
        pools: dict[tuple[str, ...], Setting] = {}
        for each in self.settings:
            values = {k: value for k, value in each.values.items() if k not in self.continuous}
            pool = pools.setdefault(tuple(values.values()), Setting(values, [], each.texts))
            pool.runs.extend(each.runs)
        return list(pools.values())

    def ranked(self, measure: Measure) -> list[Ranked]:
        """The settings, the best first; of a time those of `timed`."""
        settings = self.timed if measure.name in TIMED_FROM else self.settings
        return rank_settings(settings, measure)

    @cached_property
    def by_time(self) -> list[Ranked]:
        return self.ranked(self.time)

    @cached_property
    def by_quality(self) -> list[Ranked]:
        return self.ranked(self.quality)

    @property
    def spread(self) -> str:
        """What stands beside a mean over several runs; empty where each setting ran once."""
        if all(len(setting.completed) < 2 for setting in self.settings):
            return ""
        ranks = self.by_time + self.by_quality
        has_ranges = any(rank.estimate.is_wide for rank in ranks if rank.estimate)
        ranges = "; “a to b” is their range, where that interval is wide" * has_ranges
        return f"± is a 95 % interval over the runs{ranges}"

    @property
    def has_ties(self) -> bool:
        return any(rank.standing == "tied" for rank in self.by_time + self.by_quality)

    @cached_property
    def has_disturbed(self) -> bool:
        """Whether a run has a time that others disturbed."""
        each = (times_in_doubt.is_disturbed(run, name) for run in self.runs for name in TIMED_FROM)
        return any(each)

    @cached_property
    def in_order(self) -> list[Setting]:
        """The settings that completed: by a numeric key where it alone varies, else by rank.

        They rank by quality where only the optimizer and its schedule vary.
        """
        ranks = self.by_quality if about_learning(self.keys) else self.by_time
        place = {id(run): n for n, rank in enumerate(ranks) for run in rank.setting.runs}
        settings = [setting for setting in self.settings if setting.completed]
        if self.is_by_number:
            return sorted(settings, key=lambda setting: number(setting, self.keys[0]) or 0.0)
        time_s = {id(each): mean(each.all_of(self.time.name)) for each in settings}
        return sorted(settings, key=lambda s: (place[id(s.runs[0])], time_s[id(s)] or math.inf))

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
        ranked = [text for measure, ranks in rankings if (text := in_a_sentence(measure, ranks))]
        return [*ranked, *scaling.in_words(self.scaling)]

    @cached_property
    def scaling(self) -> list[scaling.Line]:
        """What more processes bring, where their number varies."""
        return scaling.find_lines(self.in_order, self.time)

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
            str(run.facts.whole)
            for setting in self.settings
            if len({run.facts.whole for run in setting.completed}) > 1
            for run in setting.completed
        )
        return [
            f"{title}: " + listed([f"{v} ({counted(n, 'run')})" for v, n in values.items()], MOST)
            for title, values in by_title.items()
            if len(values) > 1
        ]

    @cached_property
    def disturbances(self) -> list[str]:
        """Which runs others disturbed, and by what."""
        return times_in_doubt.sentences(self.runs)

    @cached_property
    def company(self) -> list[str]:
        """Which runs shared a machine with another one of these, or of their sweep."""
        return times_in_doubt.company(self.runs)

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


def about_learning(keys: Sequence[str]) -> bool:
    """Whether keys change what is learned, and hardly how long it takes."""
    return bool(keys) and all(key.partition(".")[0] in ("optimizer", "scheduler") for key in keys)
