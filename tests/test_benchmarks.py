import importlib
import inspect
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpml.compare.answer import Answer, Outcome, PhaseChange
from hpml.compare.question import METRICS, Question
from hpml.data.turbo_jpeg import scale_for
from hpml.statistics import AnytimeEstimate

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
Import = Callable[[str], ModuleType]


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_finds_what_it_imports(benchmark_module: Import, name: str) -> None:
    """What it needs of hpml is where it says, and it can be run from the command line."""
    module = benchmark_module(name)
    if name != "harness":
        assert f"python benchmarks/{name}.py" in (module.__doc__ or "")
        assert inspect.signature(module.measure).return_annotation.__name__ == "Page"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "harness"])
def test_help_measures_nothing(
    benchmark_module: Import, monkeypatch: pytest.MonkeyPatch, capfd: Any, name: str
) -> None:
    """It says what the benchmark is about, and its options, and ends."""
    file = str(BENCHMARKS / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [file, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(file, run_name="__main__")
    printed, errors = capfd.readouterr()
    assert (ended.value.code, errors) == (0, "")
    assert (inspect.getdoc(benchmark_module(name)) or "").splitlines()[0] in printed
    assert "--quick" in printed


def curve(**figures: dict[int, float]) -> dict[int, dict[str, Any]]:
    xs = {x for values in figures.values() for x in values}
    return {x: {name: np.array([of[x]]) for name, of in figures.items()} for x in sorted(xs)}


def test_changes_follow_the_figures(benchmark_module: Import) -> None:
    """Growth is told at the beginning, at the end and over all; that of a power by its exponent.

    What could not be measured is left out, and workers have no powers.
    """
    changes = benchmark_module("growth").changes
    batch = curve(host_mib={32: 500.0, 64: 516.0, 128: 580.0})
    images = curve(sample_ms={8: 2.5, 16: 10.0})
    rows = changes({"batch size": batch, "image size": images})
    assert rows[1] == ["batch size", "host_mib", "0.5", "1", "0.833", "0.05, 0.17, 0.11"]
    assert rows[2] == ["image size", "sample_ms", *["0.938"] * 3, "2.00, 2.00, 2.00"]
    seen = {"batch size": curve(host_mib={32: 1.0}), "a sweep": {}}
    workers = curve(host_mib={0: 1.0, 2: 2.0}, samples_per_s={0: 1.0, 2: 1.0})
    rows = changes(seen | {"workers": workers})
    assert rows[1:] == [["workers", "host_mib", *["0.5"] * 3, ""]]


def test_rounds_become_arrays_by_figure(benchmark_module: Import) -> None:
    """The round that warms up is dropped, and cases run in turn."""
    harness, called = benchmark_module("harness"), []

    def case(name: str) -> dict[str, Any]:
        called.append(name)
        return {"s": float(len(called)), "parts": {"n": 1}, "kind": name}

    seen = harness.interleaved({name: lambda name=name: case(name) for name in "ab"}, 2)
    assert called == list("ababab")
    assert seen["b"]["s"].tolist() == [4, 6]
    assert seen["b"]["parts"]["n"].tolist() == [1, 1]
    assert seen["b"]["kind"] == ["b", "b"]
    assert harness.spread(seen["b"]["s"], ".1f") == "5.0 (4.0 to 6.0)"


def test_a_page_says_that_images_were_given_and_not_where(
    benchmark_module: Import, tmp_path: Path
) -> None:
    """Real images are told from generated ones, and no path of the machine is kept."""
    harness = benchmark_module("harness")
    for root, line in (("/home/images", "With rounds=5, root=given."), ("", "With rounds=5.")):
        given = {"rounds": 5, "root": root, "spdl": ""}
        harness.write(harness.Page([], {}, theme="seen"), "About", given, tmp_path)
        (path,) = tmp_path.glob("*.md")
        assert line in path.read_text().splitlines()
        assert "/home/images" not in path.read_text()


def test_images_to_decode_smaller_are_large_enough_for_it(
    benchmark_module: Import, tmp_path: Path
) -> None:
    """Where `decode_size` is measured, half of an image still has that many pixels."""
    decoding = benchmark_module("decoding")
    decoding.large_images(tmp_path, 1, decoding.TWICE_SIDES)
    with Image.open(tmp_path / "train" / "a" / "0.jpg") as image:
        assert image.size == (1000, 750)
        assert scale_for(*image.size, decoding.LARGE["image_size"]) == 2


def test_the_gate_names_a_phase_in_right_answers_alone(benchmark_module: Import) -> None:
    """One that is undecided, or calls the plant not slower, counts for no phase."""
    figures = benchmark_module("compare").figures
    phase = PhaseChange("data", "data", (1.0, 1.1), AnytimeEstimate(0.1, 0.01, 4))
    for ratio, right in ((0.1, 1.0), (0.03, 0.0), (0.0, 0.0)):
        question = Question(METRICS["step"])
        outcome = Outcome(question, AnytimeEstimate(ratio, 0.01, 4), (1.0, 1.1))
        found = figures(Answer({}, [outcome], [phase]), "slower", "data")
        assert (found["right"], found["in_phase"]) == (right, right)
