"""What settings are called: no two alike, and what differs stays."""

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from hpml.report.collect import collect
from hpml.report.comparison import Comparison
from hpml.report.labels import LINE, apart, in_lines, short_texts, with_short_numbers
from hpml.report.picture_style import is_logarithmic
from hpml.report.settings import ABSENT, Setting, _named, find_settings, labels
from hpml.report.tables import setting_table

KEYS = ("optimizer", "optimizer.lr", "data.num_workers", "model", "model.width", "trainer.width")
NUMBERS = st.floats(1e-9, 1e9).map(str) | st.integers(0, 10**6).map(str)
PATHS = st.text("ab/ =…", min_size=1, max_size=120)
VALUES = NUMBERS | PATHS | st.sampled_from([ABSENT, "null", "sgd", "adam", "-1"])
GRIDS = st.lists(st.tuples(*[VALUES] * len(KEYS)), min_size=1, max_size=12, unique=True)


def named(rows: list[tuple[str, ...]]) -> list[Setting]:
    return _named([Setting(dict(zip(KEYS, row, strict=True)), []) for row in rows])


@settings(max_examples=200, deadline=None)
@given(GRIDS)
def test_no_two_settings_have_one_label(rows: list[tuple[str, ...]]) -> None:
    """In sentences, in pictures, and beside an axis that has one of their keys."""
    made = named(rows)
    assert len({each.name for each in made}) == len(rows)
    assert len({*labels(made)}) == len(rows)
    others = {tuple(row[:1] + row[2:]): each for row, each in zip(rows, made, strict=True)}
    assert len({*labels([*others.values()], without=KEYS[1])}) == len(others)


@settings(max_examples=200, deadline=None)
@given(GRIDS)
def test_a_label_keeps_what_differs(rows: list[tuple[str, ...]]) -> None:
    """Each value that it has, as short as the values of its key stay apart; lines are short."""
    made = named(rows)
    for row, each, label in zip(rows, made, labels(made), strict=True):
        assert max(map(len, re.sub(r" \(\d+\)$", "", label).split("\n"))) <= LINE
        shown = re.sub(r"\s", "", label)
        for key, value in zip(KEYS, row, strict=True):
            assert value == ABSENT or re.sub(r"\s", "", each.text_of(key)) in shown
    for place, key in enumerate(KEYS):
        texts = {row[place]: each.text_of(key) for row, each in zip(rows, made, strict=True)}
        assert len({*texts.values()}) == len(texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "a (2)", "a (3)", "b"]), max_size=9))
def test_names_that_stand_there_get_a_number(names: list[str]) -> None:
    """Which no other one has already; the others stay."""
    result = apart(names)
    assert len({*result}) == len(names)
    first = [names.index(name) == place for place, name in enumerate(names)]
    pairs = zip(names, result, first, strict=True)
    assert all(own == name for name, own, is_first in pairs if is_first)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        # what a search has drawn; whole numbers are counts, whose digits count
        (["0.00012345678901234567", "0.1", "128000"], ["0.0001235", "0.1", "128000"]),
        (["0.12345671", "0.12345672"], ["0.12345671", "0.12345672"]),
        (["1e-05", "0.10000000000000001"], ["1e-05", "0.1"]),
        (["x" * 50, "sgd"], [f"{'x' * 15}…{'x' * 16}", "sgd"]),
        (["x" * 20 + "a" + "x" * 20, "x" * 20 + "b" + "x" * 20], None),
    ],
)
def test_values_are_as_short_as_they_stay_apart(values: list[str], texts: list[str] | None) -> None:
    """Those that differ in their middle alone stay whole."""
    assert list(short_texts(values).values()) == (texts or values)


def test_a_runs_name_has_few_digits_and_breaks_behind_commas() -> None:
    """As a search names its folders; where few digits would make two alike they have more."""
    long = "study/optimizer.lr=0.00023677471907992745,optimizer.weight_decay=0.0005950520642062403"
    assert with_short_numbers([long, "a/seed=1"]) == [
        "study/optimizer.lr=0.0002368,optimizer.weight_decay=0.0005951",
        "a/seed=1",
    ]
    assert in_lines(with_short_numbers([long])) == [
        "study/optimizer.lr=0.0002368,\noptimizer.weight_decay=0.0005951"
    ]
    alike = ["lr=0.123456", "lr=0.123457", "2026-01-01.123456789"]
    assert with_short_numbers(alike) == alike
    assert with_short_numbers(["lr=1.23456e-05"]) == ["lr=1.235e-05"]


def config(**leaves: Any) -> dict[str, Any]:
    """Of a run whose keys have `__` for their dots."""
    made: dict[str, Any] = {"seed": 0, "monitor": "val/accuracy"}
    for key, value in leaves.items():
        group, _, leaf = key.partition("__")
        made.setdefault(group, {})[leaf] = value
    return made


@pytest.mark.parametrize(
    ("key", "values", "changes", "expected"),
    [
        # what null stands for, or `auto`, where another run says it
        ("data.eval_batch_size", (None, 64), {}, ["all runs"]),
        ("data.eval_batch_size", (None, 32), {}, ["64", "32"]),
        ("data.prefetch_factor", (None, 2), {}, ["all runs"]),
        ("trainer.limit_train_batches", (None, 1.0), {}, ["all runs"]),
        ("trainer.limit_train_batches", (None, 1), {}, ["1.0", "1"]),
        ("model.num_classes", (None, 10), {"model": {"num_classes": 10}}, ["all runs"]),
        ("trainer.precision", ("auto", "bf16-mixed"), {"chosen": True}, ["all runs"]),
        ("trainer.precision", ("auto", None), {"chosen": True}, ["bf16-mixed", "32-true"]),
        # nobody knows
        ("data.train_samples", (None, 500), {}, ["null", "500"]),
        ("trainer.precision", ("auto", "16-mixed"), {}, ["auto", "16-mixed"]),
    ],
)
def test_what_is_left_open_is_what_it_stood_for(
    tmp_path: Path, key: str, values: tuple[Any, Any], changes: dict[str, Any], expected: list[str]
) -> None:
    """Two runs that did the same are repeats, however they were asked for."""
    if changes.get("chosen"):
        changes = {"chosen": {key: "bf16-mixed"}}
    for number, value in enumerate(values):
        leaves = {"data__batch_size": 64} | {key.replace(".", "__"): value}
        start = f"2026-01-0{number + 1}"
        make_run(tmp_path, f"run{number}", config=config(**leaves), started_at=start, **changes)
    found = find_settings(collect([tmp_path])[0])
    assert [each.values.get(key, each.name) for each in found] == expected


def test_what_auto_stood_for_on_two_machines_is_one_setting(tmp_path: Path) -> None:
    """Nobody asked for two: what differs is the machine."""
    for number, mode in enumerate(("default", "reduce-overhead")):
        leaves = config(compile__mode="auto")
        make_run(tmp_path, f"run{number}", config=leaves, chosen={"compile.mode": mode})
    assert len(find_settings(collect([tmp_path])[0])) == 1


def test_null_hides_no_other_difference(tmp_path: Path) -> None:
    """Between runs that are alike in what null stood for."""
    for number, (factor, edited) in enumerate(((None, 5), (2, 10))):
        overrides = [f"data.prefetch_factor={'null' if factor is None else factor}"]
        leaves = config(data__prefetch_factor=factor, a__b=edited)
        make_run(tmp_path, f"run{number}", config=leaves, overrides=overrides)
    assert [each.name for each in find_settings(collect([tmp_path])[0])] == ["a.b=5", "a.b=10"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 4, 8], True),
        ([0, 1, 2, 4, 8], True),
        ([1, 2, 3, 4], False),
        ([16, 32, 64, 128], True),
        ([0.0001, 0.0012, 0.0015, 0.02, 0.09], True),
        ([0.01, 0.03, 0.04, 0.06, 0.1], False),
        ([1e-5, 1e-2], True),
        ([1, 4], False),
        ([-1, 1, 100], False),
        ([0, 0.0001], False),
    ],
)
def test_a_key_is_drawn_on_the_scale_that_it_was_swept_on(
    values: list[float], expected: bool
) -> None:
    """On that where its values lie more evenly."""
    assert is_logarithmic(values) == expected


def test_of_a_continuous_key_none_is_the_fastest(tmp_path: Path) -> None:
    """Runs that differ in it alone are repeats to the clock; which is best still counts."""
    rates = ("0.0101", "0.0202", "0.1")
    for number, rate in enumerate(rates):
        measured = {"epoch_s": 2.0 + number / 100, "accuracy": 0.5 + number / 10}
        make_run(tmp_path / "a", f"optimizer.lr={rate}", **measured)
    (best,) = Comparison([tmp_path / "a"]).sentences
    assert best.startswith("best: optimizer.lr=0.1, 70.00%")
    for number, rate in enumerate(rates):
        for workers in (0, 2):
            name = f"data.num_workers={workers},optimizer.lr={rate}"
            make_run(tmp_path / "b", name, epoch_s=2.0 + workers + number / 100)
    comparison = Comparison([tmp_path / "b"])
    assert comparison.sentences[0].startswith("fastest: data.num_workers=0, 2.01 ± 0.02 s (time")
    workers = [row[0].text for row in setting_table(comparison).rows]
    assert workers == ["0", "0", "0", "2", "2", "2"]


def test_an_interval_that_tells_nothing_is_told_by_the_range(tmp_path: Path) -> None:
    """Of two runs it is 13 times as wide."""
    for seed, epoch_s in enumerate((20.0, 30.0)):
        make_run(tmp_path, f"data.num_workers=0,seed={seed}", epoch_s=epoch_s)
        make_run(tmp_path, f"data.num_workers=1,seed={seed}", epoch_s=10 + seed / 10)
    comparison = Comparison([tmp_path])
    rows = [[cell.text for cell in row] for row in setting_table(comparison).rows]
    assert [row[2] for row in rows] == ["20.00 to 30.00*", "10.05 ± 0.64*"]
    assert "“a to b” is their range" in comparison.spread
