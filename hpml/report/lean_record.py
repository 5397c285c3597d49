"""A run's record in little memory: its epochs packed, and once what it has in common with others.

Ten thousand runs of thirty epochs take a tenth of what their objects would.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import msgspec

from hpml.config.fingerprint import identifying, is_left_out
from hpml.records.phases import TIMES
from hpml.records.run_record import EpochRecord, RunRecord

PLAIN = ("epoch", "steps", "samples", "samples_per_s", "peak_memory_mib", "partial", "ranks")
_is_left_out = cache(is_left_out)
_plain, _times = attrgetter(*PLAIN), itemgetter(*TIMES)


class Columns(NamedTuple):
    """What a comparison reads of a run's epochs, each a figure for every epoch in their order.

    `time` has the keys of TIMES, `metrics` those of any epoch; None where an epoch has none.
    """

    epoch: Sequence[int]
    steps: Sequence[int]
    samples: Sequence[int | None]
    samples_per_s: Sequence[float | None]
    peak_memory_mib: Sequence[float | None]
    partial: Sequence[bool]
    ranks: Sequence[dict[str, dict[str, float]] | None]
    time: dict[str, Sequence[float | None]]
    metrics: dict[str, Sequence[float | None]]

    @classmethod
    def of(cls, epochs: Sequence[EpochRecord]) -> "Columns":
        plain: list[Any] = [*zip(*map(_plain, epochs), strict=True)] or [()] * len(PLAIN)
        every = [*zip(*[_times(epoch.time) for epoch in epochs], strict=True)] or [()] * len(TIMES)
        times: dict[str, Any] = dict(zip(TIMES, every, strict=True))
        names = dict.fromkeys(name for epoch in epochs for name in epoch.metrics)
        metrics = {name: tuple([epoch.metrics.get(name) for epoch in epochs]) for name in names}
        return cls._make([*plain, times, metrics])

    @property
    def whole(self) -> "Columns":
        """Of the whole epochs alone; of those that were cut short if there are no others."""
        kept = [number for number, partial in enumerate(self.partial) if not partial]
        if not kept or len(kept) == len(self.partial):
            return self

        def cut(column: Sequence[Any]) -> Sequence[Any]:
            return [column[number] for number in kept]

        groups = [{name: cut(of) for name, of in group.items()} for group in self[-2:]]
        return Columns._make([*map(cut, self[:-2]), *groups])


def pack(value: Any) -> Any:
    """Plain values as bytes, equal ones of equal types as equal bytes; itself what is odd."""
    try:
        return msgspec.msgpack.encode(value)
    except (ValueError, OverflowError, TypeError, RecursionError):  # half characters, huge numbers
        return value


def unpack(packed: Any) -> Any:
    return msgspec.msgpack.decode(packed) if isinstance(packed, bytes) else packed


class LeanRecord(RunRecord):
    """A record of whose epochs there is what a comparison reads.

    They are unpacked whenever they are asked for: what is changed in one of them is not kept.
    """

    @property
    def epochs(self) -> list[EpochRecord]:
        columns = self.columns
        epochs = []
        for number, (epoch, steps, samples, rate, memory, partial, ranks) in enumerate(
            zip(*columns[:-2], strict=True)
        ):
            time, metrics = (
                {name: column[number] for name, column in group.items()} for group in columns[-2:]
            )
            epochs.append(EpochRecord(epoch, steps, samples, time, rate, metrics))
            last = epochs[-1]
            last.peak_memory_mib, last.partial, last.ranks = memory, partial, ranks
        return epochs

    @epochs.setter
    def epochs(self, epochs: Sequence[EpochRecord]) -> None:
        self._packed = pack(Columns.of(epochs))

    @property
    def columns(self) -> Columns:
        return Columns._make(unpack(self._packed))


def columns_of(record: RunRecord) -> Columns:
    return record.columns if isinstance(record, LeanRecord) else Columns.of(record.epochs)


class Leaves(Mapping[str, object]):
    """What identifies a run, by dotted keys; groups of keys are shared with other runs."""

    __slots__ = ("_groups",)

    def __init__(self, config: dict[str, Any], common: "Common") -> None:
        self._groups: dict[str, dict[str, Any]] = {}
        for name, leaves in common.leaves_of(config):
            first = name.partition(".")[0]
            others = self._groups.get(first)
            self._groups[first] = leaves if others is None else others | leaves

    def __getitem__(self, key: str) -> object:
        return self._groups[key.partition(".")[0]][key]

    def __iter__(self) -> Iterator[str]:
        return (key for group in self._groups.values() for key in group)

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Leaves) and self._groups == other._groups

    __hash__ = None  # type: ignore[assignment]


class Common:
    """Values of which equal ones are held once. Nobody may change them."""

    def __init__(self) -> None:
        self._held: dict[bytes, Any] = {}
        self._leaves: dict[tuple[str, int, str], _Group] = {}

    def one(self, value: Any) -> Any:
        packed = pack(value)
        return self._held.setdefault(packed, value) if isinstance(packed, bytes) else value

    def leaves_of(self, config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Of a configuration made of what `one` gave: the identifying part of each of its groups.

        It is told apart once for all runs that have the group, but where it names a run's folder.
        """
        model, here = config.get("model"), str(config.get("run_dir") or "")
        target = str(model.get("_target_")) if isinstance(model, dict) else ""
        for name, group in config.items():
            if _is_left_out(name):
                continue
            key = name, id(group), target
            if (known := self._leaves.get(key)) is None:
                leaves = self.one(_identifying_of(name, config, run_dir=None))
                texts = tuple([value for value in leaves.values() if isinstance(value, str)])
                known = self._leaves[key] = _Group(group, leaves, texts)
            _, leaves, texts = known
            if here and texts and any(text.startswith(here) for text in texts):
                leaves = self.one(_identifying_of(name, config, here))
            if leaves:
                yield name, leaves


class _Group(NamedTuple):
    """Of a configuration, with what identifies a run in it; held, so that its id stays its own."""

    group: Any
    leaves: dict[str, Any]
    texts: tuple[str, ...]


def _identifying_of(name: str, config: dict[str, Any], run_dir: str | None) -> dict[str, Any]:
    part = {name: config[name], "model": config.get("model"), "run_dir": run_dir}
    leaves = identifying(part).items()
    return {key: value for key, value in leaves if key == name or key.startswith(f"{name}.")}


def lean(record: RunRecord, common: Common) -> LeanRecord:
    """The same record, as far as a comparison reads it."""
    values = {item.name: getattr(record, item.name) for item in fields(RunRecord)}
    for name in ("environment", "choices", "chosen", "model"):
        values[name] = common.one(values[name])
    # which differ in few groups
    values["config"] = {name: common.one(group) for name, group in record.config.items()}
    values["overrides"] = [common.one(word) for word in record.overrides]
    return LeanRecord(**values | {"windows": None, "loader": None})
