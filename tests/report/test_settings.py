import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run

from hpml.report.collect import collect, mean
from hpml.report.comparison import Comparison
from hpml.report.make import write_report
from hpml.report.settings import find_settings

Runs = list[dict[str, Any]]


def optimizer(option: str, lr: float, *overrides: str, **config: Any) -> dict[str, Any]:
    """A run with an optimizer and its rate, whoever has asked for them."""
    config = {"optimizer": {"lr": lr, **config}}
    return {"overrides": overrides, "choices": {"optimizer": option}, "config": config}


def swept(key: str) -> Runs:
    """Two runs with another value of a key, which their configurations do not hold."""
    return [{"overrides": [f"{key}={value}", "x=1"], "config": {"seed": 0}} for value in "ab"]


@pytest.mark.parametrize(
    ("runs", "settings"),
    [
        ([{"name": f"seed={seed}"} for seed in (0, 1)], {"all runs": 2}),
        # whatever varies besides the seed tells settings apart; what all share does not
        (
            [{"name": f"x={n},data.batch_size=64,seed={seed}"} for n in "02" for seed in "012"],
            {"x=0": 3, "x=2": 3},
        ),
        # seeds in a file, with the data's, which follow them
        (
            [
                {"overrides": [f"experiment={n}"], "config": {"seed": n, "data": {"seed": n}}}
                for n in (7, 8)
            ],
            {"all runs": 2},
        ),
        # one run says `optimizer=adam`, the other took sgd without a word; likewise of a key
        (
            [
                optimizer("adam", 0.1, "optimizer=adam", _target_="adam"),
                optimizer("sgd", 0.2, "optimizer.lr=0.2", _target_="sgd"),
            ],
            {"optimizer=adam optimizer.lr=0.1": 1, "optimizer=sgd optimizer.lr=0.2": 1},
        ),
        # another optimizer has another learning rate by default
        (
            [optimizer("adam", 0.001, "optimizer=adam"), optimizer("sgd", 0.1, "optimizer=sgd")],
            {"optimizer=adam": 1, "optimizer=sgd": 1},
        ),
        # somebody edited a file between two runs
        ([{"config": {"a": {"b": n}}} for n in (5, 10)], {"a.b=5": 1, "a.b=10": 1}),
        # another project's configuration is not known; the path tells its runs apart
        ([{"name": f"{n}/v0", "config": {}} for n in "ab"], {"run=a/v0": 1, "run=b/v0": 1}),
        # a cluster starts them in one second
        ([{"environment": {"host": n}, "fingerprint": "f"} for n in "ab"], {"all runs": 2}),
        # names and paths change nothing that is compared
        (swept("sweep.timeout_s"), {"all runs": 2}),
        (swept("output_dir"), {"all runs": 2}),
        (swept("hydra/launcher"), {"all runs": 2}),
        (swept("monitor"), {"all runs": 2}),
        # nor does by what they are judged, as a search over the loss beside others
        ([{"config": {"seed": 0, "monitor": n}} for n in ("a", "b")], {"all runs": 2}),
        # somebody wants to know what a logger costs
        (swept("logger"), {"logger=a": 1, "logger=b": 1}),
        (swept("callbacks"), {"callbacks=a": 1, "callbacks=b": 1}),
        (swept("timing.every_n_steps"), {"timing.every_n_steps=a": 1, "timing.every_n_steps=b": 1}),
    ],
)
def test_settings_are_what_differs_but_the_seed(tmp_path: Path, runs: Runs, settings: Any) -> None:
    """Each has the number of its runs."""
    for number, run in enumerate(runs):
        make_run(tmp_path, **({"name": f"run{number}"} | run))
    collected, broken = collect([tmp_path])
    assert not broken
    assert {each.name: len(each.runs) for each in find_settings(collected)} == settings


def test_a_copy_of_a_run_is_no_repeat(tmp_path: Path) -> None:
    """Nor is a sweep's folder that was copied."""
    make_run(tmp_path, "seed=0")
    shutil.copytree(tmp_path / "seed=0", tmp_path / "copy" / "seed=0")
    runs, left_out = collect([tmp_path])
    assert len(runs) == 1
    assert "a copy of" in left_out[0]


def test_a_seed_that_ran_twice_is_timed_twice_and_learned_once(tmp_path: Path) -> None:
    """Accuracies of one seed are the same; times are not."""
    for day in (1, 2):
        for seed in (0, 1, 2):
            start = f"2026-01-0{day}T00:0{seed}:00+00:00"
            make_run(tmp_path / str(day), f"seed={seed}", started_at=start, accuracy=0.5 + seed / 9)
    (setting,) = find_settings(collect([tmp_path])[0])
    assert len(setting.all_of("epoch_s")) == 6
    assert len(setting.all_of("val/accuracy")) == 3


def test_a_foreign_run_beside_ours_is_a_setting_of_its_own(tmp_path: Path) -> None:
    """It has none of the keys, ours have no need of its name."""
    make_run(tmp_path, "foreign", config={}, started_at="2020-01-01")
    for device in ("cpu", "cuda"):
        make_run(tmp_path, f"device={device}")
    comparison = Comparison([tmp_path])
    names = {setting.name for setting in comparison.settings}
    assert names == {"run=foreign", "device=cpu", "device=cuda"}
    write_report(comparison, tmp_path, "t")


def test_a_mean_is_over_what_is_known() -> None:
    """Nothing known, no mean."""
    assert mean([1.0, None, 3.0]) == 2.0
    assert mean([None]) is None


def test_the_first_epoch_is_apart(tmp_path: Path) -> None:
    """The lab's mean is over all epochs; the steady one leaves the first out."""
    make_run(tmp_path, "a", epochs=3, epoch_s=2.0)  # 3, 2 and 2 seconds
    make_run(tmp_path, "b", epochs=1)
    a, b = collect([tmp_path])[0]
    assert a.measures["epoch_s"] == pytest.approx(7 / 3)
    assert a.measures["steady_epoch_s"] == pytest.approx(2.0)
    assert b.measures["steady_epoch_s"] is None
