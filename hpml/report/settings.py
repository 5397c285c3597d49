"""What varies between runs, and which of them are repeats of one setting."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hpml.config.fingerprint import key_of
from hpml.report.collect import MEASURES, Run, clean

# Keys that say where a run's files go or how it was started, and groups whose options show in
# other keys. The rest of what is left out of the fingerprint is compared where it was swept.
NOT_COMPARED = ("run_dir", "output_dir", "sweep", "hydra", "trainer.default_root_dir", "experiment")
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
        told = " ".join(f"{k}={value}" for k, value in self.values.items() if value != ABSENT)
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
    given = (key_of(override) for run in runs for override in run.record.overrides)
    named = sorted({key for key in given if not _begins(key, NOT_COMPARED)})
    ours = [run for run in runs if run.record.config]
    keys = [key for key in named if len({_value(run, key) for run in ours}) > 1]
    keys += _unexplained(ours, keys)
    keys = sorted((key for key in keys if key != "seed"), key=lambda key: ("." in key, key))
    theirs = ["run"] if len(ours) < len(runs) else []
    settings: dict[tuple[str, ...], Setting] = {}
    for run in runs:
        if run.record.config:
            values = dict.fromkeys(theirs, ABSENT) | {key: _value(run, key) for key in keys}
        else:  # of another project, which only its folder tells
            values = {"run": run.name} | dict.fromkeys(keys, ABSENT)
        settings.setdefault(tuple(values.values()), Setting(values, [])).runs.append(run)
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
                values = other.leaves.get(key), run.leaves.get(key)
                follows_the_seed = values == (other.leaves.get("seed"), run.leaves.get("seed"))
                if values[0] != values[1] and not follows_the_seed:
                    differing[key] = None
    return [key for key in differing if key not in keys]


def _begins(key: str, beginnings: Sequence[str]) -> bool:
    return any(key == left or key.startswith((f"{left}.", f"{left}/")) for left in beginnings)


def _value(run: Run, key: str) -> str:
    """The option chosen of a group, or the value of a key, as it is typed."""
    if key in run.record.choices:
        return clean(run.record.choices[key])
    value = run.leaves.get(key, ABSENT)
    if value is ABSENT:  # a list or a dictionary, or of another version
        given = dict(word.lstrip("+~").partition("=")[::2] for word in run.record.overrides)
        value = given.get(key, ABSENT)
    return clean(value if isinstance(value, str) else json.dumps(value))
