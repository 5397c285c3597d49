"""Each benchmark runs end to end in its short form."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.configurations import ROOT

SYNTHETIC = ("data=synthetic", "data.image_size=16")
# The beginnings of rows that each page has, besides those of the figures.
ROWS = {
    "accuracy": ("cifar26 | 3", "cifar80 | 3"),
    "compare": ("the same twice | 1 |", "sleep in the data set | 1 |"),
    "decoding": (
        *("per_sample, pillow", "twice as large", "batched, turbo, decode_size=224"),
        *("small, no workers", "small, two processes", "large, two threads"),
    ),
    "composing": (
        *("one job | 1 |", "seeds | 20 |", "options and seeds | 40 |"),
        *("an option's key and seeds | 20 |", "Hydra's own: options and seeds | 10 |"),
    ),
    "convolutions": ("all convolutions", "forward", "backward, of weights"),
    "device_clock": ("as it is", "loader, sync", "callback, sync"),
    "diagnosis": ("slow loader | from memory", "expensive callback | left out"),
    "entry_overhead": ("by hand", "bare Trainer", "hpml.train", "TensorBoard", "windows"),
    "growth": (
        *("batch size | host_mib", "data-set size | made_s", "image size | sample_ms"),
        *("workers, per_sample | host_mib", "composing | wall_s", "a sweep | wall_s"),
        *("batch size | 1,024", "workers, batched | 2", "a run alone | 1", "a sweep | 2"),
    ),
    "input_pipeline": ("plain torchvision | 0", "batched, uint8 | 4", "per_sample | 2"),
    "report": ("5 | ledger", "5 | report"),
    "same_results": (
        *("plain, one thread | 2.", "channels_last | 2.", "compiled | 2.", "experiment=fast | 2."),
        "the difference, seed by seed",
    ),
    "speed": (
        *("copied script (1)", "bare Lightning (2)", "hpml, defaults", "hpml, fast"),
        *("by hand, all tricks (3)", "matrix product, float32 (4)", "convolutions"),
    ),
    "startup": ("import torch, lightning", "experiment=demo"),
    "threads": ("small | 0 | 0", "small | 0 | 2", "small, alone", "small, beside loops"),
    "timer_overhead": ("bare", "timers", "watch's timers by hand", "hpml.watch"),
    "tune": ("slow item",),
    "witness": ("2 | 0", "200 | 0", "64 | 8"),
    "workers": ("sleeps 8 ms", "sleeps 32 ms", "in memory | 0", "slower with workers | 0"),
}


@pytest.mark.stress
@pytest.mark.parametrize("name", ROWS)
def test_each_benchmark_writes_its_page(tmp_path: Path, name: str) -> None:
    """The page has the rows of all cases; the JSON file has all figures, and none below zero."""
    words = [str(ROOT / "benchmarks" / f"{name}.py"), "--quick", "--results", "results"]
    words += SYNTHETIC if name in ("accuracy", "same_results") else ()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = {"args": [sys.executable, *words], "env": environment, "cwd": tmp_path}
    done = subprocess.run(**command, capture_output=True, text=True)
    if name == "device_clock" and not torch.cuda.is_available():
        assert done.stderr == "error: this needs a CUDA device\n"
        return
    assert done.returncode == 0, done.stderr
    found = {path.suffix: path for path in (tmp_path / "results").iterdir()}
    assert set(found) == {".json", ".md"}
    page = found[".md"].read_text()
    for row in ROWS[name]:
        assert f"\n| {row}" in page
    figures = json.loads(found[".json"].read_text())["figures"]
    assert figures
    if name == "growth":
        assert len(figures) == 8
        for curve, points in figures.items():
            assert len(points) > 1 or curve == "a run alone", curve
            assert all(min(values) >= 0 for one in points.values() for values in one.values())


GPU_SCRIPT = ROOT / "scripts" / "gpu_benchmarks.py"


@pytest.mark.stress
def test_the_script_for_gpus_runs_all_of_its_parts(tmp_path: Path) -> None:
    """At small size on the CPU each leaves its page; one that takes too long is ended and told."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(GPU_SCRIPT), "--quick", "--results"]
    done = subprocess.run([*command, str(tmp_path / "all")], env=environment, text=True)
    assert done.returncode == 0
    pages = sorted(path.name.partition("-")[0] for path in (tmp_path / "all").glob("*.md"))
    assert pages == ["accuracy", "growth", "speed"]
    command += [str(tmp_path / "none"), "--minutes", "0.1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("not done: python benchmarks/") == 3


def test_the_script_for_gpus_has_all_that_the_page_lists() -> None:
    """Each benchmark that benchmarks/README.md names for a GPU is a part of it, in ten minutes."""
    script = runpy.run_path(str(GPU_SCRIPT))
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+\.py)", page[page.index("On a GPU:") :].split("\n\n")[0]))
    assert named == {part.split()[0] for part in script["PARTS"]}
    assert sum(script["PARTS"].values()) == pytest.approx(1)
    assert script["MINUTES"] <= 10


def test_what_no_time_is_left_for_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part has what those before it have left; one that has none is told."""
    now_s, begun = 0.0, []

    def run(command: list[str], timeout: float) -> None:
        nonlocal now_s
        begun.append((Path(command[1]).name, timeout))
        now_s += timeout + 0.5  # to end it
        raise subprocess.TimeoutExpired(command, timeout)

    failed = runpy.run_path(str(GPU_SCRIPT))["failed"]
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    told = list(failed({"a.py --x": 0.4, "b.py": 0.6, "c.py": 0.0}, tmp_path, 100))
    assert begun == [("a.py", 40.0), ("b.py", 59.5)]
    assert told[0] == "python benchmarks/a.py --x: ended after its 40 s"
    assert told[2] == "python benchmarks/c.py: not begun, for no time was left"
    assert "-0 s" not in capsys.readouterr().out


def test_no_benchmark_is_left_out() -> None:
    """A new one gets its rows here."""
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert names - {"harness"} == set(ROWS)
