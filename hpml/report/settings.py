"""What varies between runs, and which of them are repeats of one setting."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hpml.fingerprint import is_left_out
from hpml.report.collect import MEASURES, Run, clean

# Groups whose options show in the keys below them.
GROUPS_OF_KEYS = ("callbacks", "experiment")
ABSENT = "–"


@dataclass
class Setting:
    """Runs that differ in their seed alone.

    `values` holds each varying key's value as it is written on the command line.
    """

    values: dict[str, str]
    runs: list[Run]

    @property
    def name(self) -> str:
        """`optimizer=adam data.num_workers=2`; where nothing varies a run's name, or `all runs`."""
        told = " ".join(f"{key}={value}" for key, value in self.values.items())
        return told or (self.runs[0].name if len(self.runs) == 1 else "all runs")

    @cached_property
    def completed(self) -> list[Run]:
        """Those of its runs that came to their end."""
        return [run for run in self.runs if run.completed]

    def by_seed(self, measure: str) -> dict[object, float]:
        """A measure or a final metric of the completed runs: the mean for each seed."""
        found: dict[object, list[float]] = {}
        for run in self.completed:
            value = value_of(run, measure)
            if value is not None:
                found.setdefault(run.seed, []).append(value)
        return {seed: sum(values) / len(values) for seed, values in found.items()}

    def all_of(self, measure: str) -> list[float]:
        """A measure of each completed run that has it; a final metric once for each seed.

        Two runs of one seed time it twice, but learn the same.
        """
        if measure not in MEASURES:
            return list(self.by_seed(measure).values())
        values = (run.measures[measure] for run in self.completed)
        return [value for value in values if value is not None]


def value_of(run: Run, measure: str) -> float | None:
    """A measure of a run, or a metric of its last epoch that has it."""
    if measure in run.measures:
        return run.measures[measure]
    return run.record.last_metric(measure)


def find_settings(runs: Sequence[Run]) -> list[Setting]:
    """The settings in the order in which they first ran.

    Which keys vary is told by the overrides, whose values are looked up in what was composed. Keys
    of the configuration that differ for another reason, an edited file say, are found too.
    """
    named = {
        key
        for run in runs
        for override in run.record.overrides
        if not _left_out(key := override.lstrip("+~").partition("=")[0])
    }
    keys = [key for key in sorted(named) if len({_value(run, key) for run in runs}) > 1]
    keys += _unexplained(runs, keys)
    keys.sort(key=lambda key: (key == "seed", "." in key, key))
    keys = [key for key in keys if key != "seed"]
    settings: dict[tuple[tuple[str, str], ...], Setting] = {}
    for run in runs:
        values = {key: _value(run, key) for key in keys}
        if not run.record.config:  # of another project, which only its folder tells
            values = {"run": run.name}
        settings.setdefault(tuple(values.items()), Setting(values, [])).runs.append(run)
    return list(settings.values())


def number(setting: Setting, key: str) -> float | None:
    """The value of a key where it is a number."""
    try:
        value = float(setting.values.get(key, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unexplained(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Keys that differ between runs which agree in all of `keys`."""
    first: dict[tuple[str, ...], Run] = {}
    differing: dict[str, None] = {}
    for run in runs:
        other = first.setdefault(tuple(_value(run, key) for key in keys), run)
        if other is not run and other.leaves != run.leaves:
            for key in other.leaves | run.leaves:
                if other.leaves.get(key) != run.leaves.get(key) and not _left_out(key):
                    differing[key] = None
    return [key for key in differing if key not in keys]


def _left_out(key: str) -> bool:
    return is_left_out(key) or key in GROUPS_OF_KEYS or key.startswith("hydra.")


def _value(run: Run, key: str) -> str:
    """The option chosen of a group, or the value of a key, as it is typed."""
    if key in run.record.choices:
        return clean(run.record.choices[key])
    value = run.leaves.get(key, ABSENT)
    if value is ABSENT:  # a list or a dictionary, or of another version
        given = dict(word.lstrip("+~").partition("=")[::2] for word in run.record.overrides)
        value = given.get(key, ABSENT)
    return clean(value if isinstance(value, str) else json.dumps(value))
