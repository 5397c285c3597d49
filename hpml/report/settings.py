"""What varies between runs, and which of them are repeats of one setting."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from hpml.config.fingerprint import is_left_out, key_of
from hpml.report.collect import MEASURES, Run, clean
from hpml.statistics import Estimate, estimate

# Keys that say where a run's files go or how it was started, and groups whose options show in
# other keys. The rest of what is left out of the fingerprint is compared where it was swept.
NOT_COMPARED = ("run_dir", "output_dir", "sweep", "hydra", "trainer.default_root_dir", "experiment")
ABSENT = "–"


@dataclass
class Setting:
    """Runs that differ in their seed alone."""

    values: dict[str, str]  # of each varying key, as it is written on the command line
    runs: list[Run]

    @property
    def name(self) -> str:
        """`optimizer=adam data.num_workers=2`; where nothing varies a run's name, or `all runs`."""
        values = " ".join(f"{k}={value}" for k, value in self.values.items() if value != ABSENT)
        return values or (self.runs[0].name if len(self.runs) == 1 else "all runs")

    @cached_property
    def completed(self) -> list[Run]:
        return [run for run in self.runs if run.completed]

    def by_seed(self, measure: str) -> dict[object, float]:
        """A measure or a final metric of the completed runs: the mean for each seed."""
        of_seed: dict[object, list[float]] = {}
        for run in self.completed:
            if (value := run.figure(measure)) is not None:
                of_seed.setdefault(run.seed, []).append(value)
        return {seed: fmean(values) for seed, values in of_seed.items()}

    def all_of(self, measure: str) -> list[float]:
        """A measure of each completed run that has it; a final metric once for each seed.

        Two runs of one seed time it twice, but learn the same.
        """
        if measure not in MEASURES:
            return list(self.by_seed(measure).values())
        return [v for run in self.completed if (v := run.figure(measure)) is not None]

    def estimate(self, measure: str) -> Estimate | None:
        """The mean of `all_of` with its interval; None where there is nothing."""
        return estimate(self.all_of(measure))


def find_settings(runs: Sequence[Run]) -> list[Setting]:
    """The settings in the order in which they first ran.

    The overrides name the keys that vary; the values are those that were composed. Keys of the
    configuration that differ for another reason, an edited file say, are found too.
    """
    given = (key_of(override) for run in runs for override in run.record.overrides)
    named = sorted({key for key in given if not is_left_out(key.replace("/", "."), NOT_COMPARED)})
    ours = [run for run in runs if run.record.config]
    keys = [key for key in named if len({_value(run, key) for run in ours}) > 1]
    keys += _unexplained(ours, keys)
    keys = sorted({*keys} - {"seed"}, key=lambda key: ("." in key, key))
    theirs = ["run"] if len(ours) < len(runs) else []
    settings: dict[tuple[str, ...], Setting] = {}
    for run in runs:
        if run.record.config:
            values = dict.fromkeys(theirs, ABSENT) | {clean(key): _value(run, key) for key in keys}
        else:  # of another project, known by its folder alone
            values = {"run": run.name} | dict.fromkeys(map(clean, keys), ABSENT)
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
        if other.leaves != run.leaves:
            for key in other.leaves | run.leaves:
                before, now = (each.leaves.get(key) for each in (other, run))
                follows_the_seed = [before, now] == [r.leaves.get("seed") for r in (other, run)]
                if before != now and not follows_the_seed:
                    differing[key] = None
    return [key for key in differing if key not in keys]


def _value(run: Run, key: str) -> str:
    """The option chosen of a group, or the value of a key, as it is typed."""
    if key in run.record.choices:
        return clean(run.record.choices[key])
    value = run.leaves.get(key, ABSENT)
    if value is ABSENT:  # a list or a dictionary, or of another version
        given = dict(word.lstrip("+~").partition("=")[::2] for word in run.record.overrides)
        value = given.get(key, ABSENT)
    return clean(value if isinstance(value, str) else json.dumps(value))
