"""The lab's commands: what each part runs, and where its result lies."""

import copy
import itertools
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from hpml.config.command_line import as_override, options
from hpml.config.fingerprint import key_of
from hpml.diagnosis.command import FILE_NAME as DIAGNOSIS_FILE
from hpml.lab.parts import (
    COUNTED,
    DEVICES,
    DIAGNOSIS,
    LABS_OWN,
    NO_NORM,
    OPTIMIZERS,
    PARTS,
    SEARCH_ROUNDS,
    SEARCH_S,
    SUMMARIES,
    SUMMARIES_AS_IT_IS,
    SUMMARY,
    TRAINING,
    WORKERS,
)
from hpml.lab.unanswered import disturbed_by
from hpml.records.run_record import RunRecord
from hpml.report.collect import Run, collect
from hpml.sweep.reruns import MARK, RERUN, OnDisturbance
from hpml.system.files import read_json
from hpml.worker_counts.command import FILE_NAME as WORKERS_FILE

LAB_FILE = "lab.json"
# Keys that the lab gives itself, for each of its parts.
OF_THE_LAB = ("lab", "seed", "optimizer", "data.num_workers", "output_dir", "hydra")
# Keys of one program, by which no other is started.
OF_ONE_PROGRAM = ("workers", "diagnose", "summary")
# Keys that a command which adds a part to the report gives itself.
OF_A_START = ("lab.name", "lab.parts", "lab.budget_min", "lab.again", "lab.dry_run")
# What the summary has no use for.
NOT_COUNTED = ("trainer.", "monitor", "data.pipeline", "data.verify")
# Where a command keeps its result, and what a result has to hold to be one.
FILES = {WORKERS: WORKERS_FILE, DIAGNOSIS: DIAGNOSIS_FILE}
HOLDS = {
    SUMMARY: ("name", "conv_layers", "linear_in_features", "trainable_parameters"),
    WORKERS: (
        *("recommended", "override", "tied", "best_loading", "tied_loading"),
        *("settings", "sentences"),
    ),
    DIAGNOSIS: ("diagnoses", "comparison"),
}


@dataclass(frozen=True)
class Task:
    name: str  # of the folder that holds its result
    parts: tuple[str, ...]  # which it answers
    words: tuple[str, ...]  # of the command line, after `python`
    result: Path | None = None  # the file that is there once it is done; a sweep knows itself
    counted: tuple[str, ...] = ()  # overrides of a summary, which needs no process that imports
    again: bool = False  # a disturbed result is none

    @property
    def key(self) -> str:
        return f"{self.name}-{self.result.stem}" if self.counted and self.result else self.name

    @property
    def is_done(self) -> bool:
        """Whether its result is there, and whole."""
        result = read_json(self.result, *HOLDS[self.name]) if self.result else None
        whole = None if (result or {}).get("interrupted") else result
        return whole is not None and not (self.again and disturbed_by(whole))

    @property
    def command(self) -> str:
        return shlex.join(["python", *self.words])


@dataclass(frozen=True)
class Sweep:
    """The trainings of one command: each optimizer on each device, with each seed."""

    name: str
    parts: tuple[str, ...]
    optimizers: Sequence[str]
    devices: Sequence[str]
    words: tuple[str, ...] = ()


class Tasks:
    """The commands of the chosen parts, in the order in which one feeds the next.

    Of `devices`, by what `device` calls them, the first one trains; `folder` is this machine's.
    """

    def __init__(
        self, cfg: DictConfig, overrides: Sequence[str], folder: Path, devices: Sequence[str]
    ) -> None:
        self.folder = folder
        self.devices = list(devices)
        self.limit: int | None = None  # training batches an epoch, where that is shortened
        self.num_workers: int | None = None  # of the trainings, once they have begun
        self.worker_rounds: int | None = None  # of the search, within a budget
        self.search_s: float | None = None  # that it is given there
        self.chosen = chosen_parts(cfg)
        self.has_norm = bool(cfg.model.get("norm"))  # which the network can do without
        self._cfg = cfg
        self._seeds = range(cfg.seed, cfg.seed + cfg.lab.seeds)
        self._options = options(sys.argv[1:])
        mine = [word for word in overrides if not _is_in(OF_THE_LAB, key_of(word))]
        given = {key_of(word) for word in mine}
        own = [f"{key}={value}" for key, value in LABS_OWN.items() if key not in given]
        self.to_verify: list[str] = []  # what makes the lab look at every file once, for all parts
        if "verify" in cfg.data and "data.verify" not in given:
            own.append("data.verify=false")
            self.to_verify = ["data.verify=true"]
        self.typed = [*self._options, *(w for w in overrides if key_of(w) not in OF_A_START)]
        self._of_one = [word for word in mine if _is_in(OF_ONE_PROGRAM, key_of(word))]
        self.common = [*own, *(word for word in mine if word not in self._of_one)]

    def of(self, parts: Sequence[str]) -> "Tasks":
        """The tasks of these parts alone."""
        some = copy.copy(self)
        some.chosen = [*parts]
        return some

    def before_training(self) -> Iterator[Task]:
        """What counts, searches and diagnoses; each task once those before it are done."""
        yield from self.summaries
        yield from self._in_folder(WORKERS, "hpml.workers", [*self._search_limits()])
        both = ["data.num_workers=1", f"diagnose.against=data.num_workers={self._best_above_1}"]
        yield from self._in_folder(DIAGNOSIS, "hpml.diagnose", both)

    def training(self) -> Iterator[Task]:
        """The sweeps of trainings, those that are not complete or may have to run again."""
        again = self._cfg.sweep.on_code_change == "rerun"
        return (self._task_of(s) for s in self._sweeps() if again or self._left(s))

    @property
    def search(self) -> dict[str, Any] | None:
        return read_result(self.folder, WORKERS)

    @property
    def best(self) -> int:
        """The number of workers that was best here; what is configured where none was searched."""
        search = self.search
        return int(search["recommended"] if search else self._cfg.data.get("num_workers") or 0)

    @property
    def to_train_with(self) -> int:
        return self.best if self.num_workers is None else self.num_workers

    @property
    def _best_above_1(self) -> int:
        """The number of workers with which C4 compares one: the best, or the best of more."""
        if self.best > 1:
            return self.best
        settings = self.search["settings"] if self.search else {}
        others = [count for count in settings if int(count) > 1]
        return int(min(others, key=lambda count: settings[count]["epoch_s"]["mean"], default=2))

    @property
    def trainings(self) -> list[tuple[str, str, int]]:
        """The sweeps that are not complete: name, device, how many trainings are to be made."""
        left = ((sweep.name, Counter(self._left(sweep))) for sweep in self._sweeps())
        return [(name, *item) for name, by_device in left for item in by_device.items()]

    @property
    def has(self) -> set[str]:
        """The names of the tasks that there are."""
        names = {PARTS[part].task for part in self.chosen} - {TRAINING, NO_NORM, DEVICES}
        names |= {task.name for task in self.summaries}
        return names | {sweep.name for sweep in self._sweeps()}

    @property
    def done(self) -> set[str]:
        left = {task.name for task in self.before_training() if not task.is_done}
        return self.has - left - {name for name, *_ in self.trainings}

    @property
    def summaries(self) -> Iterator[Task]:
        """Those of all networks and optimizers for the questions; C7 is explained by some."""
        asking = self._parts_of(SUMMARY)
        for name, more in (SUMMARIES if self.has_norm else SUMMARIES_AS_IT_IS).items():
            explains = self.has_norm and "c7" in self.chosen and name in COUNTED["c7"]
            if not (parts := asking + ("c7",) * explains):
                continue
            words = self._words("hpml.summary", [*more, f"seed={self._cfg.seed}"])
            kept = [word for word in words if not key_of(word).startswith(NOT_COUNTED)]
            result = self.folder / SUMMARY / f"{name}.json"
            overrides = tuple(kept[2 + len(self._options) :])
            yield Task(SUMMARY, parts, (*kept, "--json"), result, counted=overrides)

    def _search_limits(self) -> Iterator[str]:
        given = {key_of(word) for word in self._of_one if not word.endswith("=null")}
        if self.worker_rounds or "workers.rounds" not in given:
            yield f"workers.rounds={self.worker_rounds or SEARCH_ROUNDS}"
        if "workers.budget_s" not in given:
            yield f"workers.budget_s={self.search_s or SEARCH_S:g}"

    def _in_folder(self, name: str, program: str, more: Sequence[str]) -> Iterator[Task]:
        """A command that keeps its own result in the folder of its name."""
        if parts := self._parts_of(name):
            directory = self.folder / name
            words = self._words(program, [*more, as_override("hydra.run.dir", shown(directory))])
            yield Task(name, parts, words, directory / FILES[name], again=self._cfg.lab.again)

    def _sweeps(self) -> Iterator[Sweep]:
        first, *others = self.devices
        chosen = {part for part in self.chosen if part != "c7" or self.has_norm}
        if chosen & {"c1", "c2", "c5", "c6", "c7"}:  # the last ones compare with its SGD
            parts = self._parts_of(TRAINING) or self._parts_of(DEVICES) + self._parts_of(NO_NORM)
            optimizers = OPTIMIZERS if "c6" in chosen else ("sgd",)
            yield Sweep(TRAINING, parts, optimizers, [first])
        if "c7" in chosen:
            yield Sweep(NO_NORM, ("c7",), ["sgd"], [first], ("model.norm=false",))
        if "c5" in chosen and others:
            yield Sweep(DEVICES, ("c5",), ["sgd"], others)

    def _left(self, sweep: Sweep) -> list[str]:
        """The device of each training of a sweep that is not complete, or is to run again."""
        policy = RERUN if self._cfg.lab.again else MARK
        on_disturbance = OnDisturbance(policy, max_reruns=self._cfg.sweep.max_reruns)
        records = {of: RunRecord.read(run.directory) for of, run in self._completed(sweep).items()}
        done = {of for of, record in records.items() if not on_disturbance.repeats(record)}
        each = itertools.product(sweep.optimizers, sweep.devices, self._seeds)
        return [training[1] for training in each if training not in done]

    def _completed(self, sweep: Sweep) -> dict[tuple[Any, ...], Run]:
        """By optimizer, device and seed."""
        done = {}
        for run in (run for run in collect([self.folder / sweep.name])[0] if run.completed):
            device, seed = map(run.record.config.get, ("device", "seed"))
            done[run.record.choices.get("optimizer"), device, seed] = run
        return done

    def _task_of(self, sweep: Sweep) -> Task:
        limit = [f"trainer.limit_train_batches={self.limit}"] if self.limit else []
        again = [f"sweep.on_disturbance={RERUN}"] if self._cfg.lab.again else []
        more = [
            *("-m", f"data.num_workers={self.to_train_with}", *limit, *again, *sweep.words),
            f"optimizer={','.join(sweep.optimizers)}",
            f"device={','.join(sweep.devices)}",
            f"seed={','.join(map(str, self._seeds))}",
            as_override("hydra.sweep.dir", shown(self.folder / sweep.name)),
        ]
        return Task(sweep.name, sweep.parts, self._words("hpml.train", more))

    def _words(self, program: str, more: Sequence[str]) -> tuple[str, ...]:
        """A command line: what all have in common, what this program alone has, and more."""
        group = program.rpartition(".")[2]
        # a key that the program has, if not the lab
        of_program = [w.lstrip("+") for w in self._of_one if _is_in([group], key_of(w))]
        keys = {key_of(word) for word in more}
        kept = [word for word in [*self.common, *of_program] if key_of(word) not in keys]
        return ("-m", program, *self._options, *kept, *more)

    def _parts_of(self, task: str) -> tuple[str, ...]:
        return tuple(part for part in self.chosen if PARTS[part].task == task)


def command_for(typed: Sequence[str], name: str, *more: str) -> str:
    """What runs more of a lab, for a shell: with the words that it was begun with."""
    words = [*typed, as_override("lab.name", name), *more]
    return shlex.join(["python", "-m", "hpml.lab", *words])


def chosen_parts(cfg: DictConfig) -> list[str]:
    """The parts that are asked for; all where nothing is said."""
    wanted = cfg.lab.parts
    if wanted is None:
        return list(PARTS)
    listed = wanted if isinstance(wanted, ListConfig) else [wanted]
    return list(dict.fromkeys(str(part).lower() for part in listed))


def read_result(folder: Path, task: str, file: str = "") -> dict[str, Any] | None:
    """A task's result on a machine, by the machine's folder; None where it is not there whole."""
    return read_json(folder / task / (file or FILES[task]), *HOLDS[task])


def shown(directory: Path) -> str:
    """A path, relative where that is shorter to read."""
    path = os.path.relpath(directory)
    return str(directory) if path.startswith("..") else path


def _is_in(groups: Iterable[str], key: str) -> bool:
    """Whether a key is one of some, or below one; of the optimizer its choice alone."""
    is_below = any(f"{key}.".startswith(f"{group}.") for group in groups)
    return is_below and not key.startswith("optimizer.")
