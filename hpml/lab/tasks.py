"""The lab's commands: what each part runs, and where its result lies."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hpml.command_line import options
from hpml.diagnose import FILE_NAME as DIAGNOSIS_FILE
from hpml.fingerprint import key_of
from hpml.lab.parts import (
    DEVICES,
    DIAGNOSIS,
    NO_NORM,
    OPTIMIZERS,
    PARTS,
    SUMMARIES,
    SUMMARY,
    TRAINING,
    WORKERS,
)
from hpml.workers import FILE_NAME as WORKERS_FILE

LAB_FILE = "lab.json"
# What the lab asks for, and what its timed parts leave out: validation and checkpoints.
LABS_OWN = {
    "data.pipeline": "per_sample",
    "optimizer.lr": "0.1",
    "trainer.limit_val_batches": "0",
    "trainer.enable_checkpointing": "false",
    "monitor": "train/accuracy",
}
# Keys that the lab gives itself, for each of its parts.
OF_THE_LAB = ("lab", "seed", "optimizer", "data.num_workers", "output_dir", "hydra")


@dataclass(frozen=True)
class Task:
    """One command of the lab.

    Attributes:
        name: of the folder that holds its result.
        parts: which it answers.
        words: of the command line, after `python`.
        result: the file that tells that it is done; None for a sweep, which knows itself.
        output: a file that its standard output is kept in; None where it keeps its own files.
    """

    name: str
    parts: tuple[str, ...]
    words: tuple[str, ...]
    result: Path | None
    output: Path | None = None

    @property
    def key(self) -> str:
        """What it is called among the others of this machine."""
        return self.name if self.output is None else f"{self.name}-{self.output.stem}"

    @property
    def command(self) -> str:
        """To be typed into a shell."""
        return shlex.join(["python", *self.words])

    @property
    def to_start(self) -> list[str]:
        """The same for this Python."""
        return [sys.executable, *self.words]


class Tasks:
    """The commands of the chosen parts, in the order in which one feeds the next.

    Args:
        cfg: the lab's configuration.
        overrides: the command line's.
        folder: of this machine's results.
        devices: those that are here, by what `device` calls them; the one that trains first.
    """

    def __init__(
        self, cfg: DictConfig, overrides: Sequence[str], folder: Path, devices: Sequence[str]
    ) -> None:
        self.folder = folder
        self.devices = list(devices)
        self.limit: int | None = None  # training batches an epoch, where that is shortened
        self.worker_rounds: int | None = None
        self.chosen = chosen_parts(cfg)
        self._cfg = cfg
        mine = [word for word in overrides if not _is_labs(key_of(word))]
        given = {key_of(word) for word in mine}
        own = [f"{key}={value}" for key, value in LABS_OWN.items() if key not in given]
        if "verify" in cfg.data and "data.verify" not in given:
            own.append("data.verify=false")  # the lab has looked at every file already
        self.typed = mine
        self.common = [*own, *mine]

    def before_training(self) -> Iterator[Task]:
        """What counts, searches and diagnoses; each task once those before it are done."""
        for make in (self._summaries, self._workers, self._diagnosis):
            yield from make()

    def training(self) -> Iterator[Task]:
        """The sweeps of trainings."""
        yield from self._trainings()

    @property
    def best(self) -> int:
        """The number of workers that was found here; what is configured where none was."""
        found = self.found
        return int(found["recommended"] if found else self._cfg.data.get("num_workers") or 0)

    @property
    def found(self) -> dict[str, Any] | None:
        """What the search for workers has found here, if it was made."""
        return read_json(self.folder / WORKERS / WORKERS_FILE)

    @property
    def compared(self) -> tuple[int, int]:
        """C4's two numbers of workers: one, and the best; where that is 0 or 1, the next."""
        best, found = self.best, self.found
        if best > 1:
            return 1, best
        others = [int(n) for n in (found or {"settings": {}})["settings"] if int(n) > 1]
        if not others or found is None:
            return 1, 2
        return 1, min(others, key=lambda n: found["settings"][str(n)]["epoch_s"]["mean"])

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """Of each device, how many trainings there are."""
        first, *others = self.devices
        seeds = int(self._cfg.lab.seeds)
        jobs = [(first, seeds * len(self._optimizers))] if self._optimizers else []
        jobs += [(first, seeds)] if "c7" in self.chosen and self.has_norm else []
        return jobs + [(device, seeds) for device in others if "c5" in self.chosen]

    @property
    def has(self) -> set[str]:
        """The names of the tasks that there are."""
        names = {PARTS[part].task for part in self.chosen} - {TRAINING, NO_NORM, DEVICES}
        return names | ({TRAINING} if self.trainings else set())

    @property
    def done(self) -> set[str]:
        """The names of the tasks whose results are there; sweeps know theirs themselves."""
        files = {
            WORKERS: [self.folder / WORKERS / WORKERS_FILE],
            DIAGNOSIS: [self.folder / DIAGNOSIS / DIAGNOSIS_FILE],
            SUMMARY: [task.result for task in self._summaries() if task.result],
        }
        return {name for name, of in files.items() if all(file.exists() for file in of)}

    @property
    def has_norm(self) -> bool:
        """Whether the network can do without normalisation."""
        return "norm" in self._cfg.model

    @property
    def _optimizers(self) -> list[str]:
        """Those of C6; the first alone where another part wants it."""
        if "c6" in self.chosen:
            return list(OPTIMIZERS)
        return ["sgd"] if {"c1", "c2", "c5", "c7"} & set(self.chosen) else []

    def _summaries(self) -> Iterator[Task]:
        parts = self._parts_of(SUMMARY)
        for name, words in SUMMARIES.items() if parts else ():
            if self.has_norm or "model.norm=false" not in words:
                result = self.folder / SUMMARY / f"{name}.json"
                left_out = ("trainer.", "monitor", "data.pipeline", "data.verify")
                common = [word for word in self.common if not word.startswith(left_out)]
                words = [*options(sys.argv[1:]), *common, *words, "--json"]
                yield Task(SUMMARY, parts, ("-m", "hpml.summary", *words), result, result)

    def _workers(self) -> Iterator[Task]:
        parts = self._parts_of(WORKERS)
        if parts:
            directory = self.folder / WORKERS
            rounds = [f"workers.rounds={self.worker_rounds}"] if self.worker_rounds else []
            words = self._words("hpml.workers", [*rounds, _in("hydra.run.dir", directory)])
            yield Task(WORKERS, parts, words, directory / WORKERS_FILE)

    def _diagnosis(self) -> Iterator[Task]:
        parts = self._parts_of(DIAGNOSIS)
        if parts:
            directory = self.folder / DIAGNOSIS
            one, other = self.compared
            against = f"diagnose.against=data.num_workers={other}"
            more = [f"data.num_workers={one}", against, _in("hydra.run.dir", directory)]
            yield Task(
                DIAGNOSIS, parts, self._words("hpml.diagnose", more), directory / DIAGNOSIS_FILE
            )

    def _trainings(self) -> Iterator[Task]:
        first, *others = self.devices
        if self._optimizers:
            parts = tuple(p for p in self.chosen if PARTS[p].task == TRAINING) or ("c5", "c7")
            more = [f"optimizer={','.join(self._optimizers)}", f"device={first}"]
            yield self._sweep(TRAINING, parts, more)
        if "c7" in self.chosen and self.has_norm:
            more = ["optimizer=sgd", "model.norm=false", f"device={first}"]
            yield self._sweep(NO_NORM, ("c7",), more)
        if "c5" in self.chosen and others:
            more = ["optimizer=sgd", f"device={','.join(others)}"]
            yield self._sweep(DEVICES, ("c5",), more)

    def _sweep(self, name: str, parts: tuple[str, ...], more: Sequence[str]) -> Task:
        seed, seeds = int(self._cfg.seed), int(self._cfg.lab.seeds)
        limit = [f"trainer.limit_train_batches={self.limit}"] if self.limit else []
        words = self._words(
            "hpml.train",
            [
                *("-m", f"data.num_workers={self.best}", *limit, *more),
                f"seed={','.join(str(seed + n) for n in range(seeds))}",
                _in("hydra.sweep.dir", self.folder / name),
            ],
        )
        return Task(name, parts, words, None)

    def _words(self, program: str, more: Sequence[str]) -> tuple[str, ...]:
        keys = {key_of(word) for word in more}
        common = [word for word in self.common if key_of(word) not in keys]
        return ("-m", program, *options(sys.argv[1:]), *common, *more)

    def _parts_of(self, task: str) -> tuple[str, ...]:
        return tuple(part for part in self.chosen if PARTS[part].task == task)


def chosen_parts(cfg: DictConfig) -> list[str]:
    """The parts that are asked for; all where nothing is said."""
    return list(PARTS) if cfg.lab.parts is None else [str(part).lower() for part in cfg.lab.parts]


def _is_labs(key: str) -> bool:
    if key.startswith("optimizer."):
        return False
    return any(key == own or key.startswith(f"{own}.") for own in OF_THE_LAB)


def _in(key: str, directory: Path) -> str:
    """An override with a path in it, relative where that is shorter to read."""
    path = os.path.relpath(directory)
    text = str(directory) if path.startswith("..") else path
    if re.fullmatch(r"[\w./~+:@%-]+", text):
        return f"{key}={text}"
    return f"{key}='" + text.replace("'", "\\'") + "'"


def read_json(file: Path) -> dict[str, Any] | None:
    """An object's file; None where there is none that can be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
