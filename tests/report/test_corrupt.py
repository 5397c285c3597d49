"""Records, event files and folders that are broken: named, and without effect on the good runs."""

import copy
import csv
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import slow, stress
from helpers.pages import read
from helpers.programs import run_program
from helpers.records import MACHINE, make_run, shared_epoch

from hpml.report.comparison import Comparison
from hpml.report.make import make_report
from hpml.report.tables import write_csv
from hpml.report.terminal import show

EVIL = "</td></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&`|[a](javascript:b)"
GOOD = [f"optimizer={name},seed={seed}" for name in ("sgd", "adam") for seed in (0, 1)]
ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e99, 1e308, -1e308, 10**400, float("nan"), float("inf")),
    *("", "text", EVIL, "\ud800", "\x00\x1b[2J\r\n\u2028\u202e", "x" * 10_000, "0", "-1"),
    *([], [None], [EVIL], [[[1]]], {}, {EVIL: EVIL}, {"": {"a": [{}]}}, {"\ud800": 1.0}),
    {"type": 1, "message": []},
]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """A record with something in each of its parts."""
    make_run(
        tmp_path,
        "optimizer=sgd,optimizer.lr=0.1,seed=2",
        environment=MACHINE | {"accelerators": ["G"]},
        error={"type": "SIGKILL", "message": "killed", "log_end": "the end"},
        verdict={"kind": "compute-bound", "sentence": "likely"},
        model={"name": "small", "trainable_parameters": 5},
        resumed=[{"at": "2026-01-01T00:00:00+00:00", "batches": 5, "lost_s": 1.0, "earlier_s": 2}],
        startup_s=1.0,
    )
    (file,) = tmp_path.glob("optimizer=*/record.json")
    data = json.loads(file.read_text())
    gpu = {"name": "GPU 0", "power_w": 300.0, "disturbed_by": ["GPU 0 ran slower for heat"]}
    data["epochs"][-1]["interference"] = shared_epoch(2.0, 1.0, gpus=[gpu])
    return data


def key_paths(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a record stands, groups and leaves."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in items:
        yield (*before, key)
        if isinstance(child, dict | list):
            yield from key_paths(child, (*before, key))


def changed(data: dict[str, Any], path: tuple[Any, ...], *value: Any) -> bytes:
    """A record with another value in one place, or with none there."""
    data = copy.deepcopy(data)
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    if value:
        node[path[-1]] = value[0]
    else:
        del node[path[-1]]
    return json.dumps(data).encode()


def everywhere(data: dict[str, Any], value: Any) -> list[bytes]:
    return [changed(data, path, value) for path in key_paths(data)]


def evil_in_every_string(node: Any) -> Any:
    if isinstance(node, dict):
        return dict(zip(node, map(evil_in_every_string, node.values()), strict=True))
    if isinstance(node, list):
        return list(map(evil_in_every_string, node))
    kept = ("completed", "failed", "2026-01-01T00:00:00+00:00")
    return node + EVIL if isinstance(node, str) and node not in kept else node


def flipped(raw: bytes, dice: random.Random) -> bytes:
    """One to three bits are others."""
    mutable = bytearray(raw)
    for _ in range(dice.choice((1, 1, 3))):
        mutable[dice.randrange(len(mutable))] ^= 1 << dice.randrange(8)
    return bytes(mutable)


def make_good(folder: Path) -> Path:
    """Four good runs."""
    for name in GOOD:
        make_run(folder, name)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return make_good(tmp_path / "sweep")


def measured(folder: Path) -> list[list[str]]:
    """What a report's table says of each of the good runs."""
    names = "status seed started_at wall_s epochs epoch_s steady_epoch_s samples_per_s train/loss"
    names += " val/accuracy command"
    with (folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["directory"]).name: row for row in csv.DictReader(file)}
    return [[rows[name][key] for key in names.split()] for name in GOOD]


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[str]], set[str]]:
    """What a report measures of the good runs alone, and the tags of its page."""
    folder = tmp_path_factory.mktemp("undamaged")
    make_report([make_good(folder / "sweep")], folder)
    # of what has failed, and in the headings of dotted keys
    others = {"details", "summary", "pre", "strong", "wbr"}
    return measured(folder), {*read(folder).tags, *others}


Report = Callable[[list[bytes]], str]


@pytest.fixture
def report(sweep: Path, tmp_path: Path, undamaged: Any, capsys: Any, monkeypatch: Any) -> Report:
    """Makes a report over the good runs and records of some contents, and looks at all of it."""
    monkeypatch.setenv("COLUMNS", "100000")
    before, tags = undamaged

    def report(contents: list[bytes]) -> str:
        shutil.rmtree(sweep / "odd", ignore_errors=True)
        for number, content in enumerate(contents):
            folder = sweep / "odd" / str(number)
            folder.mkdir(parents=True)
            (folder / "record.json").write_bytes(content)
        capsys.readouterr()
        count = make_report([sweep], tmp_path / "after")
        printed = capsys.readouterr().out
        assert count + printed.count("left out: ") == len(GOOD) + len(contents)
        assert measured(tmp_path / "after") == before
        page = read(tmp_path / "after")
        assert set(page.tags) <= tags
        assert page.tags.count("script") == 1  # ours
        assert page.runs == []
        assert "\x1b[2J" not in printed + (tmp_path / "after" / "report.html").read_text()
        return printed

    return report


def test_a_record_cut_short_anywhere_is_left_out(report: Report, data: Any) -> None:
    """Each is told with its path; also what is empty, no JSON, or of another schema."""
    raw = json.dumps(data).encode()
    cut = [raw[:end] for end in range(0, len(raw) - 1, len(raw) // 100)]
    others = [b"\x00" * 100, b"\xff\xfe", b"[]", b"null", b'"a"', b"[" * 100_000, b"1" * 5000]
    others += [b"", b"{", b'{"a":' * 100_000, json.dumps({"schema_version": 2}).encode()]
    others += everywhere(data, float("nan"))
    printed = report([*cut, *others])
    assert printed.count("left out: ") == len(cut) + len(others)
    for number in range(len(cut) + len(others)):
        assert f"odd/{number}/record.json: " in printed
    assert "schema_version 2, not 1" in printed


SLOW = map(slow, [True, -1, 1e99, 1e308, 10**400, "\ud800\x1b[2J", [], {}])
MORE = map(stress, ["x", float("nan"), 1.5])


@pytest.mark.parametrize("value", [None, EVIL, *SLOW, *MORE], ids=lambda value: repr(value)[:20])
def test_a_value_of_another_type_anywhere_breaks_no_report(
    report: Report, data: Any, tmp_path: Path, value: Any
) -> None:
    """In the place of each key: the run is left out, or shown as it says, alone and with others."""
    damaged = everywhere(data, value)
    report(damaged)
    beside = tmp_path / "beside"
    make_run(beside, "device=b", epochs=2)
    (beside / "odd").mkdir()
    for content in damaged:
        (beside / "odd" / "record.json").write_bytes(content)
        comparison = Comparison([beside])
        assert len(comparison.runs) + len(comparison.left_out) == 2 - len(comparison.evaluations)
        show(comparison)
        write_csv(comparison, beside)


def test_whatever_is_in_a_records_texts_is_shown_as_text(report: Report, data: Any) -> None:
    """In all of them at once, and in the keys of what may have any."""
    evil = [evil_in_every_string(data)]
    for path in (("config",), ("environment",), ("choices",), ("epochs", 0, "metrics")):
        evil.append(json.loads(changed(data, path, {EVIL: EVIL if len(path) == 1 else 0.5})))
    report([json.dumps(record).encode() for record in evil])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="FIFOs are Unix's")
@pytest.mark.timeout(60)
def test_what_only_looks_like_a_record_or_its_neighbours(sweep: Path, tmp_path: Path) -> None:
    """A folder, dangling and circular links, a FIFO; event files, logs and tables in their way."""
    odd = ("folder", "dangling", "circle", "fifo")
    for name in odd:
        (sweep / name).mkdir()
    (sweep / "folder" / "record.json").mkdir()
    (sweep / "dangling" / "record.json").symlink_to("nowhere")
    (sweep / "circle" / "record.json").symlink_to("record.json")
    os.mkfifo(sweep / "fifo" / "record.json")
    for number, name in enumerate(GOOD):
        events = sweep / name / f"events.out.tfevents.{number}"
        contents = (b"", b"\x00" * 7, random.Random(number).randbytes(1000))
        events.mkdir() if number == 3 else events.write_bytes(contents[number])
        (sweep / name / ".hydra").symlink_to("nowhere")
    (sweep / GOOD[0] / "train.log").mkdir()
    os.mkfifo(sweep / GOOD[1] / "train.log")
    words = ["-m", "hpml.report", str(sweep), "--output", str(tmp_path / "out")]
    done = run_program(words, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row[0] for row in measured(tmp_path / "out")] == ["completed"] * 4
    for name in odd:
        assert f"left out: {sweep / name}" in done.stdout.replace("\n", "")


@pytest.mark.parametrize("name", ["runs.csv", "report.html", "report.md", "phases.png"])
def test_a_folder_in_the_place_of_a_report_is_named(sweep: Path, name: str) -> None:
    """Exit code 2, one line, and no run is touched."""
    (sweep / name).mkdir()
    before = [file.read_bytes() for file in sorted(sweep.rglob("record.json"))]
    done = run_program(["-m", "hpml.report", str(sweep)], sweep, exit_code=2)
    assert done.stderr == f"error: {sweep / name}: Is a directory; give --output DIR\n"
    assert [file.read_bytes() for file in sorted(sweep.rglob("record.json"))] == before


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_random_damage_breaks_no_report(report: Report, data: Any) -> None:
    """Bits, values and keys: damaged records with the good runs, alone and all together."""
    dice = random.Random(0)
    raw, paths = json.dumps(data).encode(), list(key_paths(data))
    damaged = [flipped(raw, dice) for _ in range(500)]
    damaged += [changed(data, dice.choice(paths), dice.choice(ODD)) for _ in range(500)]
    damaged += [changed(data, path) for path in paths]
    for content in dice.sample(damaged, 100):
        report([content])
    report(damaged)
