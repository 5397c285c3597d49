"""The benchmarks that take long run end to end in their short form."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.configurations import ROOT

SYNTHETIC = ("data=synthetic", "data.image_size=16")


def run(tmp_path: Path, script: str, *arguments: str) -> str:
    """What a copy of a script prints, which writes its results beside itself."""
    made = shutil.copytree(
        ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results")
    )
    done = subprocess.run(
        [sys.executable, made / script, "--quick", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.stress
def test_the_curves_of_growth_are_measured(tmp_path: Path) -> None:
    """The short form ends with a page, its picture, and figures of every curve."""
    run(tmp_path, "growth.py")
    found = {path.suffix: path for path in (tmp_path / "benchmarks" / "results").iterdir()}
    assert set(found) == {".json", ".md", ".png"}
    written = json.loads(found[".json"].read_text())
    for curve in ("batch", "set", "image", "per_sample", "batched", "sweep", "dry"):
        points = written["figures"][curve]
        assert len(points) > 1, curve
        assert all(
            values and min(values) >= 0 for one in points.values() for values in one.values()
        )
    page = found[".md"].read_text()
    assert found[".png"].name in page
    for beginning in ("Batch size:", "Data set:", "Image size:", "Workers, ", "Sweep size:"):
        assert f"- {beginning}" in page


@pytest.mark.stress
def test_the_speed_of_all_peers_is_measured(tmp_path: Path) -> None:
    """Each peer has its row, and the profiler's kinds of operations theirs."""
    page = run(tmp_path, "speed.py")
    peers = ("copied script (1)", "bare Lightning (2)", "hpml, defaults", "hpml, fast")
    for row in (*peers, "by hand, all tricks (3)", "convolutions"):
        assert f"| {row} |" in page
    assert "matrix product, float32 (4)" in page


@pytest.mark.stress
def test_the_time_to_an_accuracy_is_measured(tmp_path: Path) -> None:
    """Both recipes train with each seed."""
    page = run(tmp_path, "accuracy.py", *SYNTHETIC)
    for name in ("cifar94", "cifar96"):
        assert f"{name}, seed 1: " in page
        assert f"| {name} | 3 | " in page


@pytest.mark.stress
def test_the_results_of_the_fast_paths_are_compared(tmp_path: Path) -> None:
    """Each path's losses stand beside the plain one's, and the accuracies of both."""
    page = run(tmp_path, "same_results.py", *SYNTHETIC)
    for path in ("plain, one thread", "channels_last", "compiled", "experiment=fast"):
        assert f"| {path} | 2." in page
    assert "| the difference, seed by seed | " in page
