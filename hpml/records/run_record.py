"""A run's record: what was asked, what happened, how long it took. Read without torch."""

import dataclasses
import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from hpml.formatting import counted
from hpml.records.phases import TIMES
from hpml.system.files import finite, write_whole

SCHEMA_VERSION = 1
FILE_NAME = "record.json"
NOT_A_RECORD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
# No figure of a run is as large; sums of larger ones would be infinite.
LARGEST = 1e100
# Types of error whose messages are sentences of ours.
SAYS_ITSELF = ("UserError", "DataError", "RunFailedError", "Timeout", "SIG", "SLURM")
_T = TypeVar("_T")
Status = Literal["running", "completed", "failed", "interrupted"]


class RecordError(ValueError):
    """A file that is no record, or one of another schema."""


@dataclass
class EpochRecord:
    """One epoch. Times are in seconds; what was not measured is None.

    `time` has the keys of TIMES. `metrics` holds `train/loss`, `train/accuracy`, `val/loss`,
    `val/accuracy` and `lr`, or whatever the module of another project logs.
    """

    epoch: int
    steps: int
    samples: int | None
    time: dict[str, float | None]
    samples_per_s: float | None
    metrics: dict[str, float | None]
    device_time: dict[str, float] | None = None
    train_split: dict[str, float] | None = None
    other_split: dict[str, float] | None = None
    first_batch_s: float | None = None
    step_ms: dict[str, float] | None = None
    step_counts: dict[str, int] | None = None  # milliseconds, and how many steps took about that
    peak_memory_mib: float | None = None
    steady_samples_per_s: float | None = None  # without the first batch and the validation
    achieved_tflops: float | None = None  # in steady state
    partial: bool = False  # cut short, or begun by another fit
    resumed: bool = False  # begun by another process, whose last resume checkpoint it resumed from
    # what the epoch had to share, and lost: see system/interference.py; None: nobody looked
    interference: dict[str, Any] | None = None
    # of several ranks: of each of TIMES the mean, the worst, whose that is, and what is between the
    # extremes, its skew; `late_s`, `late` and `communication`: see timing/rank_comparison.py
    ranks: dict[str, Any] | None = None


@dataclass(repr=False)
class RunRecord:
    """One run, as `record.json` keeps it."""

    started_at: str
    fingerprint: str
    command: str
    overrides: list[str]
    config: dict[str, Any]
    environment: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
    choices: dict[str, str] = field(default_factory=dict)  # the option of each group
    chosen: dict[str, Any] = field(default_factory=dict)  # what `auto` stood for on the device
    code_fingerprint: str = ""
    status: Status = "running"
    error: dict[str, str] | None = None  # {type, message}, in a sweep also {log_end}
    wall_s: float | None = None
    model: dict[str, Any] | None = None
    startup_s: float | None = None
    compile_s: float | None = None  # of startup_s; None where nothing was compiled ahead
    finish_s: float | None = None
    epochs: list[EpochRecord] = field(default_factory=list)
    evaluation: dict[str, Any] | None = None  # {checkpoint, metrics}
    verdict: dict[str, str] | None = None
    # what live windows hold, one after the other: see timing/live_windows.py
    windows: dict[str, list[float | None]] | None = None
    # what each stage of loading a sample costs, where that was asked for: see loading/stages.py
    loader: dict[str, Any] | None = None
    # in a sweep, what was done about other programs: {policy, …}, see sweep/runner.py
    disturbance: dict[str, Any] | None = None
    # each {at, batches, lost_s, earlier_s}
    resumed: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        words = [self.status, counted(len(self.epochs), "epoch")]
        words += [] if self.wall_s is None else [f"{self.wall_s:.1f} s"]
        words += [self.verdict["kind"]] if self.verdict else []
        return f"<{type(self).__name__}: {', '.join(words)}>"

    def last_metric(self, name: str) -> float | None:
        """A metric of the last epoch that has it; None where none has."""
        values = (epoch.metrics.get(name) for epoch in reversed(self.epochs))
        return next((value for value in values if value is not None), None)

    @property
    def cause(self) -> str:
        """Why a run did not complete, in one line; empty where nothing is known."""
        if self.error is None:
            return ""
        kind, message = self.error["type"], self.error["message"].strip().partition("\n")[0]
        return message if kind.startswith(SAYS_ITSELF) else f"{kind}: {message}".rstrip(": ")

    def write(self, directory: Path) -> None:
        """Writes `record.json` into a directory; a reader sees the old one or the new one, whole.

        Numbers that are not finite become null, since JSON has no word for them.
        """
        write_whole(directory / FILE_NAME, self._as_json(indent=1) + "\n")

    def write_last(self, directory: Path) -> None:
        """Writes how a run ended: on a full disk over the record that is there.

        Raises the OSError of the first try where neither can be done.
        """
        try:
            self.write(directory)
        except OSError:
            with suppress(OSError):
                return self._overwrite(directory)
            raise

    def _overwrite(self, directory: Path) -> None:
        """Writes over the `record.json` of a directory, in no more space than it takes.

        For a full disk, which has no room for another file. The windows and then the last epochs
        are left out where they do not fit.
        """
        shorter = dataclasses.replace(self, epochs=list(self.epochs))
        with (directory / FILE_NAME).open("r+b") as file:
            status = os.fstat(file.fileno())
            room = max(status.st_size, getattr(status, "st_blocks", 0) * 512)
            while len(content := shorter._as_json(indent=None).encode()) > room:
                if shorter.windows is not None:
                    shorter.windows = None
                    continue
                if not shorter.epochs:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
                shorter.epochs.pop()
            file.write(content)
            file.truncate()

    def _as_json(self, indent: int | None) -> str:
        return json.dumps(finite(dataclasses.asdict(self)), indent=indent, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Reads a record from its file, or from the directory that holds it.

        Raises RecordError where there is none, or none of this schema. Keys that this version
        does not know are passed over.
        """
        file = path / FILE_NAME if path.is_dir() else path
        if file.exists() and not file.is_file():  # a pipe would be read for ever
            raise RecordError(f"{file}: no readable record (it is no plain file)")
        try:
            data = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
            version = data["schema_version"]
            if version != SCHEMA_VERSION:
                raise RecordError(f"{file}: schema_version {version}, not {SCHEMA_VERSION}")
            epochs = [_without_unknown_keys(EpochRecord, epoch) for epoch in data.pop("epochs")]
            record = _without_unknown_keys(cls, data)
            record.epochs = epochs
            check_types(record)
        except RecordError:
            raise
        except (*NOT_A_RECORD, OSError) as error:
            raise RecordError(f"{file}: no readable record ({error})") from error
        return record

    @classmethod
    def read_if_any(cls, path: Path) -> "RunRecord | None":
        """As `read`; None where it raises RecordError."""
        try:
            return cls.read(path)
        except RecordError:
            return None


def read_records(
    paths: Sequence[Path], read: Callable[[Path], RunRecord] = RunRecord.read
) -> Iterator[tuple[Path, RunRecord | RecordError]]:
    """The records in and under some paths, each with the directory of its run, one at a time.

    What cannot be read comes as the error that says why; `read` is given the file.
    """
    files: dict[str, None] = {}
    for path in paths:
        real = os.path.realpath(path)  # Path.resolve raises for a link to itself
        below = [real] if path.is_file() else sorted(_below(real), key=_parts)
        for file in below:  # in a folder without links only the file may be one
            is_link = os.path.islink(file)  # noqa: PTH114 - of ten thousand a Path takes long
            files[os.path.realpath(file) if is_link else file] = None
    for path in map(Path, files):
        try:
            yield path.parent, read(path)
        except RecordError as error:
            yield path.parent, error


def _parts(path: str) -> list[str]:
    return path.split(os.sep)  # noqa: PTH206 - of ten thousand a Path takes long


def _below(folder: str) -> Iterator[str]:
    """All files named like a record, links to nowhere too, which `rglob` passes over."""
    for parent, folders, files in os.walk(folder):
        if FILE_NAME in folders or FILE_NAME in files:
            yield f"{parent}{os.sep}{FILE_NAME}"  # of ten thousand a Path takes long


def now() -> str:
    """The time as records write it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _without_unknown_keys(kind: type[_T], data: dict[str, Any]) -> _T:
    names = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in data.items() if name in names})


def check_types(record: RunRecord) -> None:
    """Raises an error where something is not of the type that its readers expect."""
    if record.status not in get_args(Status):
        raise ValueError(f"unknown status {record.status!r}")
    datetime.fromisoformat(record.started_at)
    for name, kind in (
        *(("config", dict), ("environment", dict), ("choices", dict), ("overrides", list)),
        *(("command", str), ("fingerprint", str), ("code_fingerprint", str), ("resumed", list)),
        *(("error", dict | None), ("evaluation", dict | None), ("started_at", str)),
        *(("disturbance", dict | None), ("loader", dict | None)),
    ):
        if not isinstance(getattr(record, name), kind):
            raise TypeError(name)
    texts = [*(record.error or {}).values(), *record.overrides, *record.choices.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("error, overrides or choices")
    if record.error is not None and not {"type", "message"} <= record.error.keys():
        raise ValueError("error")
    numbers: list[Any] = [record.wall_s]
    for resumption in record.resumed:
        datetime.fromisoformat(resumption["at"])
        numbers += [resumption.get("earlier_s"), resumption.get("lost_s")]
    for epoch in record.epochs:
        if not isinstance(epoch.epoch, int):
            raise TypeError("the number of an epoch")
        numbers += [epoch.samples, epoch.samples_per_s, *epoch.metrics.values()]
        numbers += [epoch.time[name] for name in TIMES]
    for number in numbers:
        if number is not None and not (isinstance(number, int | float) and abs(number) < LARGEST):
            raise ValueError(f"{number!r} for a number")


def _refuse(word: str) -> None:
    raise ValueError(f"{word} for a number")
