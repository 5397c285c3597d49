"""Records decoded in a tenth of the time, with what a comparison of runs reads of their epochs."""

from contextlib import suppress
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import msgspec

from hpml.records.phases import TIMES
from hpml.records.run_record import LARGEST, NOT_A_RECORD, RunRecord, Status, check_types
from hpml.system.interference import Interference

# Unions keep whole numbers whole.
Figure = int | float | None
_times = itemgetter(*TIMES)
_names = Interference.__dataclass_fields__.keys() - {"wall_s", "lost_s", "gpus"}
# What an epoch had to share, as far as it has the types of `Interference`.
Shared = msgspec.defstruct(
    "Shared",
    [
        ("wall_s", int | float),
        *((name, Figure, None) for name in Interference.__dataclass_fields__ if name in _names),
        ("lost_s", dict[str, int | float], msgspec.field(default_factory=dict)),
        ("gpus", list[dict[str, Any]] | None, None),
    ],
    gc=False,
)


class Epoch(msgspec.Struct, gc=False):
    """Of an EpochRecord what a comparison reads, under the same names."""

    epoch: int
    steps: Any
    samples: Figure
    time: dict[str, Figure]
    samples_per_s: Figure
    metrics: dict[str, Figure]
    peak_memory_mib: Any = None
    partial: Any = False
    ranks: Any = None
    interference: Shared | None = None  # type: ignore[valid-type]


class _Record(msgspec.Struct):
    """The types that RunRecord.read asks for, and none beside them."""

    schema_version: Literal[1]
    started_at: str
    fingerprint: str
    command: str
    overrides: list[str]
    config: dict[str, Any]
    environment: dict[str, Any]
    epochs: list[Epoch]
    choices: dict[str, str] = {}
    chosen: Any = {}
    code_fingerprint: str = ""
    status: Status = "running"
    error: dict[str, str] | None = None
    wall_s: Figure = None
    model: Any = None
    evaluation: dict[str, Any] | None = None
    loader: dict[str, Any] | None = None
    disturbance: dict[str, Any] | None = None
    resumed: list[dict[str, Any]] = []


_decoder = msgspec.json.Decoder(_Record)


def read_brief(file: Path) -> RunRecord:
    """As RunRecord.read of a file, but its epochs may be of the type `Epoch`.

    What is not as hpml writes it is read by RunRecord.read, which says what is wrong.
    """
    with suppress(*NOT_A_RECORD, OSError):
        if file.is_file():  # a pipe would be read for ever
            read = _decoder.decode(file.read_bytes())
            record = RunRecord(**msgspec.structs.asdict(read))
            _check(record)
            return record
    return RunRecord.read(file)


def _check(record: RunRecord) -> None:
    """Raises an error where `check_types` would, given the types of `_Record`."""
    if record.error or record.resumed:
        return check_types(record)
    datetime.fromisoformat(record.started_at)
    numbers = [record.wall_s]
    for epoch in record.epochs:
        numbers += _times(epoch.time)
        numbers += epoch.metrics.values()
        numbers += epoch.samples, epoch.samples_per_s
    known = [number for number in numbers if number is not None]
    if known and not (max(known) < LARGEST and min(known) > -LARGEST):
        raise ValueError("a number")
    return None
