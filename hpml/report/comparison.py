"""What a set of runs says: settings ranked, what else differs between them, in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from hpml.report.collect import ACCURACY, Run, collect
from hpml.report.settings import Setting, find_settings, number, numeric
from hpml.report.statistics import Estimate, Standing, estimate, standings
from hpml.units import counted

# What a comparison wants to be the same for all runs, by its key in the record's environment.
SAME = {
    "cpu": "processor",
    "cpu_cores": "usable cores",
    "accelerators": "accelerators",
    "device": "device",
    "python": "Python",
    "torch": "torch",
    "cuda": "CUDA",
    "lightning": "Lightning",
    "hpml": "hpml",
    "git_commit": "commit",
    "jobs_at_once": "jobs at once on the machine",
}


@dataclass(frozen=True)
class Measure:
    """A figure by which settings are ranked.

    Attributes:
        name: in the record.
        title: in words.
        best: what the best setting is called.
        higher_is_better: which one is the best.
        unit: `s`, `%` or nothing.
    """

    name: str
    title: str
    best: str
    higher_is_better: bool
    unit: str

    def shown(self, known: Estimate, with_unit: bool = True) -> str:
        """`2.31 ± 0.05 s`, `84.1 ± 0.4%`; a single run has no interval."""
        scale = 100 if self.unit == "%" else 1
        spec = f".{decimals(known.mean)}f" if self.unit == "s" else ".2f" if self.unit else ".4g"
        text = f"{scale * known.mean:{spec}}"
        if known.half_width is not None:
            text += f" ± {scale * known.half_width:{spec if self.unit else '.2g'}}"
        return text + {"s": " s", "%": "%", "": ""}[self.unit] * with_unit


@dataclass(frozen=True)
class Ranked:
    """A setting's place in a ranking."""

    setting: Setting
    known: Estimate | None
    standing: Standing | None


class Comparison:
    """The runs under some paths, compared. All of it is computed when it is first asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.runs, self.broken = collect(paths)
        self.settings = find_settings(self.runs)

    @cached_property
    def keys(self) -> list[str]:
        """The keys that vary between the settings."""
        return list(dict.fromkeys(key for setting in self.settings for key in setting.values))

    @cached_property
    def unfinished(self) -> list[Run]:
        """The runs that failed, were interrupted, or are still at work."""
        return [run for run in self.runs if not run.completed]

    @cached_property
    def time(self) -> Measure:
        """The epoch's time: without the first epoch where each completed run has another."""
        steady = all(run.measures["steady_epoch_s"] for run in self.runs if run.completed)
        name = "steady_epoch_s" if steady else "epoch_s"
        title = "time of an epoch after the first" if steady else "time of an epoch"
        return Measure(name, title, "fastest", False, "s")

    @cached_property
    def quality(self) -> Measure:
        """What `monitor` names in all runs; else the accuracy in validation."""
        named = {str(run.record.config.get("monitor", ACCURACY)) for run in self.runs}
        name = named.pop() if len(named) == 1 else ACCURACY
        on_test = name.startswith("val/") and all(
            run.leaves.get("data.val_split") == 0 for run in self.runs
        )
        return Measure(
            name,
            f"last {name}" + (", on the test set" if on_test else ""),
            "best",
            not ("loss" in name or "error" in name),
            "%" if name.endswith("accuracy") else "",
        )

    def ranked(self, measure: Measure) -> list[Ranked]:
        """The settings, the best first; those without the measure last."""
        found = standings(
            [setting.by_seed(measure.name) for setting in self.settings], measure.higher_is_better
        )
        ranks = [
            Ranked(setting, estimate(setting.all_of(measure.name)), standing)
            for setting, standing in zip(self.settings, found, strict=True)
        ]
        sign = -1 if measure.higher_is_better else 1
        return sorted(
            ranks, key=lambda rank: sign * rank.known.mean if rank.known else float("inf")
        )

    @cached_property
    def by_time(self) -> list[Ranked]:
        """The settings, the fastest first."""
        return self.ranked(self.time)

    @cached_property
    def by_quality(self) -> list[Ranked]:
        """The settings, the best first."""
        return self.ranked(self.quality)

    @cached_property
    def in_order(self) -> list[Setting]:
        """The settings that completed: by a numeric key where it alone varies, else by rank.

        They rank by quality where only the optimizer and its schedule vary.
        """
        ranks = self.by_quality if about_learning(self.keys) else self.by_time
        found = [rank.setting for rank in ranks if rank.setting.completed]
        if len(self.keys) == 1 and numeric(found, self.keys[0]):
            found.sort(key=lambda setting: number(setting, self.keys[0]))
        return found

    @cached_property
    def sentences(self) -> list[str]:
        """Which setting is fastest and which is best, and which are tied with it."""
        rankings = ((self.time, self.by_time), (self.quality, self.by_quality))
        told = [_sentence(measure, ranks) for measure, ranks in rankings]
        return [sentence for sentence in told if sentence]

    @cached_property
    def differences(self) -> list[str]:
        """What differs between completed runs besides their settings: hardware and versions.

        A comparison of devices may differ in the device.
        """
        told = []
        machines = [run.record.environment for run in self.runs if run.completed]
        for key, title in SAME.items():
            if key in ("device", "accelerators") and "device" in self.keys:
                continue
            values = Counter(in_words(machine.get(key)) for machine in machines if key in machine)
            if len(values) > 1:
                counts = ", ".join(f"{value} ({counted(n, 'run')})" for value, n in values.items())
                told.append(f"{title}: {counts}")
            elif key == "jobs_at_once" and values and "1" not in values:
                told.append(f"all times were taken with {next(iter(values))} {title}")
        at_once = _at_once([run for run in self.runs if run.completed])
        if at_once:
            told.append(f"{counted(at_once, 'run')} shared the machine with another one, or more")
        return told

    @cached_property
    def chosen(self) -> list[tuple[Ranked, int]]:
        """Of optimizers that were swept over learning rates: the best of each, out of how many."""
        if not {"optimizer", "optimizer.lr"} <= set(self.keys):
            return []
        of_each: dict[str, list[Ranked]] = {}
        for rank in self.by_quality:
            if rank.known is not None:
                of_each.setdefault(rank.setting.values["optimizer"], []).append(rank)
        if all(len(ranks) == 1 for ranks in of_each.values()):
            return []
        return [(ranks[0], len(ranks)) for ranks in of_each.values()]


def _at_once(runs: Sequence[Run]) -> int:
    """How many runs of one host began before another one of these had ended."""
    of_host: dict[str, list[tuple[datetime, datetime, int]]] = {}
    for index, run in enumerate(runs):
        begun = datetime.fromisoformat(run.record.started_at)
        ended = begun + timedelta(seconds=run.record.wall_s or 0.0)
        host = in_words(run.record.environment.get("host"))
        of_host.setdefault(host, []).append((begun, ended, index))
    shared: set[int] = set()
    for times in of_host.values():
        latest: tuple[datetime, int] | None = None
        for begun, ended, index in sorted(times):
            # their beginning is known to a second
            if latest is not None and begun + timedelta(seconds=1) < latest[0]:
                shared |= {index, latest[1]}
            if latest is None or ended > latest[0]:
                latest = ended, index
    return len(shared)


def about_learning(keys: Sequence[str]) -> bool:
    """Whether keys change what is learned, and hardly how long it takes."""
    return bool(keys) and all(key.partition(".")[0] in ("optimizer", "scheduler") for key in keys)


def decimals(seconds: float) -> int:
    """As many as can mean something."""
    return 3 if seconds < 1 else 2 if seconds < 100 else 1


def _sentence(measure: Measure, ranks: Sequence[Ranked]) -> str:
    """`fastest: adam, 2.31 ± 0.05 s …; tied with it: sgd`; nothing where there is no choice."""
    known = [rank for rank in ranks if rank.known is not None]
    if len(known) < 2:
        return ""
    first = known[0]
    assert first.known is not None
    if len({rank.known.mean for rank in known if rank.known}) == 1:
        return f"{measure.title}: {measure.shown(first.known)} in all settings"
    told = f"{measure.best}: {first.setting.name}, {measure.shown(first.known)} "
    told += f"({measure.title})"
    tied = [rank.setting.name for rank in known if rank.standing == "tied"]
    untested = sum(rank.standing == "untested" for rank in known)
    if untested == len(known) - 1:
        return f"{told}; too few runs to tell it from chance: sweep seed=0,1,2"
    if len(tied) == len(known) - 1 > 1:
        told += "; all others are tied with it"
    elif tied:
        more = f" and {len(tied) - 5} more" if len(tied) > 5 else ""
        told += f"; tied with it: {', '.join(tied[:5])}{more}"
    else:
        told += "; ahead of all that were repeated" if untested else "; ahead of all others"
    return told


def in_words(value: object) -> str:
    """What a record says of the machine."""
    if isinstance(value, list):
        return " + ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
