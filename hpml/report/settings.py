"""What varies between runs, and which of them are repeats of one setting."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

from hpml.config.fingerprint import is_left_out, key_of
from hpml.report.collect import MEASURES, Run, clean
from hpml.report.labels import LINE, apart, in_lines, is_whole, number_of, short_keys, short_texts
from hpml.statistics import Estimate, estimate

# Keys that say where a run's files go, how it was started or by what it is judged, and groups whose
# options show in other keys. The rest of what is left out of the fingerprint is compared where it
# was swept.
NOT_COMPARED = (
    *("run_dir", "output_dir", "sweep", "hydra", "trainer.default_root_dir", "experiment"),
    *("monitor", "monitor_mode"),
)
ABSENT = "–"
# What leaves a value open, and what null stands for in torch's DataLoader and Lightning's Trainer.
OPEN = (ABSENT, "null", "auto")
NULL_IS: dict[str, Any] = {
    "data.prefetch_factor": 2,
    "trainer.precision": "32-true",
    "trainer.log_every_n_steps": 50,
    "trainer.gradient_clip_algorithm": "norm",
    **dict.fromkeys(("trainer.enable_checkpointing", "trainer.enable_model_summary"), True),
    **{f"trainer.limit_{split}_batches": 1.0 for split in ("train", "val", "test", "predict")},
    **{"trainer.val_check_interval": 1.0, "trainer.deterministic": False},
}


@dataclass
class Setting:
    """Runs that differ in their seed alone."""

    values: dict[str, str]  # of each varying key, as it is written on the command line
    runs: list[Run]
    texts: dict[str, str] = field(default_factory=dict)  # of the values, as they are shown
    own_name: str = ""  # unlike those of the settings beside it

    @property
    def name(self) -> str:
        """`optimizer=adam data.num_workers=2`; where nothing varies a run's name, or `all runs`."""
        alone = self.runs[0].name if len(self.runs) == 1 else "all runs"
        return self.own_name or self.named_by({key: key for key in self.values}) or alone

    def named_by(self, keys: Mapping[str, str]) -> str:
        """The values of some keys, each with what the key is called."""
        there = (key for key in keys if self.values[key] != ABSENT)
        return " ".join(f"{keys[key]}={self.text_of(key)}" for key in there)

    def text_of(self, key: str) -> str:
        """A value as it is shown."""
        return self.texts.get(key, self.values[key])

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
    columns = _varying(ours, named)
    columns |= _varying(ours, _unexplained(ours, columns))
    keys = sorted(columns.keys() - {"seed"}, key=lambda key: ("." in key, key))
    rows = {id(run): [columns[key][n] for key in keys] for n, run in enumerate(ours)}
    theirs = {"run": ABSENT} if len(ours) < len(runs) else {}
    settings: dict[tuple[str, ...], Setting] = {}
    for run in runs:
        if run.record.config:
            values = theirs | dict(zip(map(clean, keys), rows[id(run)], strict=True))
        else:  # of another project, known by its folder alone
            values = {"run": run.name} | dict.fromkeys(map(clean, keys), ABSENT)
        settings.setdefault(tuple(values.values()), Setting(values, [])).runs.append(run)
    return _named(list(settings.values()))


def labels(settings: Sequence[Setting], without: str = "") -> list[str]:
    """Names for a picture, in lines, unlike one another; `without` a key that its axis has.

    Where one is too long for a line, keys lose what stands before their name.
    """
    keys = [key for key in settings[0].values if key != without] if settings else []
    names = [each.named_by({key: key for key in keys}) or each.name for each in settings]
    if max(map(len, names), default=0) > LINE and keys:
        names = [each.named_by(short_keys(keys)) or each.name for each in settings]
    return in_lines(names)


def number(setting: Setting, key: str) -> float | None:
    """The value of a key where it is a number."""
    return number_of(setting.values.get(key, ""))


def is_continuous(settings: Sequence[Setting], key: str) -> bool:
    """Whether a key's values are numbers, and not all of them whole."""
    values = {each.values[key] for each in settings} - {ABSENT}
    whole = map(is_whole, values)
    return None not in map(number_of, values) and not all(whole)


def _named(settings: list[Setting]) -> list[Setting]:
    """The same, with values as short as they stay apart, and names that do."""
    keys = settings[0].values if settings else ()
    texts = {key: short_texts(each.values[key] for each in settings) for key in keys}
    for each in settings:
        each.texts = {key: texts[key][value] for key, value in each.values.items()}
    for each, name in zip(settings, apart([each.name for each in settings]), strict=True):
        each.own_name = name
    return settings


def _varying(runs: Sequence[Run], keys: Iterable[str]) -> dict[str, list[str]]:
    """The values that keys have in each run, of those keys that have several."""
    columns = {key: _column(runs, key) for key in keys}
    return {key: values for key, values in columns.items() if len({*values}) > 1}


def _column(runs: Sequence[Run], key: str) -> list[str]:
    """A key's value in each run; where these differ, an open one is what it stood for."""
    written = [_value(run, key) for run in runs]
    if len({*written}) < 2 or not {*OPEN} & {*written}:
        return written
    pairs = zip(runs, written, strict=True)
    return [_stood_for(run, key, value) if value in OPEN else value for run, value in pairs]


def _unexplained(runs: Sequence[Run], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Keys that differ between runs which agree in all columns."""
    first: dict[tuple[str, ...], Run] = {}
    differing: dict[str, None] = {}
    for run, *values in zip(runs, *columns.values(), strict=True):
        other = first.setdefault(tuple(values), run)
        if other.leaves != run.leaves:
            for key in {**other.leaves, **run.leaves}:
                before, now = (each.leaves.get(key) for each in (other, run))
                follows_the_seed = [before, now] == [r.leaves.get("seed") for r in (other, run)]
                if before != now and not (follows_the_seed or is_left_out(key, NOT_COMPARED)):
                    differing[key] = None
    return [key for key in differing if key not in columns]


def _stood_for(run: Run, key: str, written: str) -> str:
    """What `auto` or null stood for in a run, as it is typed; itself where nobody knows."""
    chosen, model = (
        of if isinstance(of, dict) else {} for of in (run.record.chosen, run.record.model)
    )
    known = NULL_IS | {
        "data.eval_batch_size": run.leaves.get("data.batch_size"),
        "model.num_classes": model.get("num_classes"),
    }
    if written != "null" and key not in chosen:
        return written
    value = chosen.get(key) if written != "null" else None
    value = known.get(key) if value is None else value
    return written if value is None else _typed(value)


def _value(run: Run, key: str) -> str:
    """The option chosen of a group, or the value of a key, as it is typed."""
    if key in run.record.choices:
        return clean(run.record.choices[key])
    value = run.leaves.get(key, ABSENT)
    if value is ABSENT:  # a list or a dictionary, or of another version
        given = dict(word.lstrip("+~").partition("=")[::2] for word in run.record.overrides)
        value = given.get(key, ABSENT)
    return _typed(value)


def _typed(value: object) -> str:
    return clean(value if isinstance(value, str) else json.dumps(value))
