"""Records decoded by their types: the same as those that are read with all that they hold."""

import copy
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run, shared_epoch

from hpml.records.record_decoder import Epoch, Shared, read_brief
from hpml.records.run_record import EpochRecord, RecordError, RunRecord

# Of these a report reads nothing.
UNREAD = ("windows", "startup_s", "compile_s", "finish_s", "verdict", "loader")
ODD: list[Any] = [None, True, -1, 1.5, 1e308, 10**400, "text", "\ud800", [], {}]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """A record of one epoch, with something in each part that a report reads."""
    record = make_run(
        tmp_path,
        "optimizer=sgd,seed=2",
        epochs=1,
        lost_s=0.5,
        error={"type": "SIGKILL", "message": "killed"},
        resumed=[{"at": "2026-01-01T00:00:00+00:00", "batches": 5, "lost_s": 1.0, "earlier_s": 2}],
    )
    gpu = {"name": "GPU 0", "power_w": 300, "disturbed_by": ["GPU 0 ran slower for heat"]}
    record.epochs[0].interference = shared_epoch(2.0, 1, gpus=[gpu])
    record.write(tmp_path)
    return json.loads((tmp_path / "record.json").read_text())


def paths(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*before, key)
        if isinstance(child, dict | list):
            yield from paths(child, (*before, key))


def changes(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with another value in the place of each, or without it."""
    for path in paths(data):
        for value in (*ODD, ...):
            other = copy.deepcopy(data)
            node: Any = other
            for key in path[:-1]:
                node = node[key]
            if value is ...:
                del node[path[-1]]
            else:
                node[path[-1]] = value
            yield other


def outcome(read: Any, file: Path) -> Any:
    """What is read, in JSON, which tells 1 from 1.0 and from true; or the error."""
    try:
        record = read(file)
    except RecordError as error:
        return str(error)
    names = [item.name for item in fields(RunRecord) if item.name not in (*UNREAD, "epochs")]
    known = {name: getattr(record, name) for name in names}
    epochs = [[getattr(each, name) for name in Epoch.__struct_fields__] for each in record.epochs]
    for epoch in epochs:
        shared = epoch.pop()
        if isinstance(shared, Shared):
            shared = {name: getattr(shared, name) for name in Shared.__struct_fields__}
        if isinstance(shared, dict):  # what is missing is not known, as what is null
            kept = ((name, shared.get(name)) for name in Shared.__struct_fields__)
            shared = {name: value for name, value in kept if value not in (None, {})}
        epoch.append(shared)
    return json.dumps([known, epochs], sort_keys=True)


def test_a_record_is_decoded_by_its_types(data: dict[str, Any], tmp_path: Path) -> None:
    """With its whole numbers whole, and without what a comparison does not read."""
    file = tmp_path / "record.json"
    (epoch,) = read_brief(file).epochs
    assert type(epoch) is Epoch
    assert type(RunRecord.read(file).epochs[0]) is EpochRecord
    assert outcome(read_brief, file) == outcome(RunRecord.read, file)


@pytest.mark.timeout(120)
def test_what_is_odd_is_read_or_refused_alike(data: dict[str, Any], tmp_path: Path) -> None:
    """Any value in the place of any other one, in a record that failed and was resumed, or not."""
    file = tmp_path / "odd.json"
    sound = data | {"error": None, "resumed": []}
    some = [*changes(data)]
    some += [
        data | {"error": None, "resumed": [], "epochs": e["epochs"]} for e in some if "epochs" in e
    ]
    seen = set()
    for record in (*some[::3], sound):
        file.write_text(json.dumps(record))
        brief, whole = outcome(read_brief, file), outcome(RunRecord.read, file)
        assert brief == whole
        seen.add(whole[:2])
    assert len(seen) == 2  # read, and refused
