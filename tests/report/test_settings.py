import shutil
from pathlib import Path

import pytest
from helpers.records import make_run

from hpml.report.collect import collect, mean
from hpml.report.comparison import Comparison
from hpml.report.make import write_report
from hpml.report.settings import find_settings


def settings_of(folder: Path) -> dict[str, int]:
    """Name and number of runs of each setting."""
    runs, broken = collect([folder])
    assert not broken
    return {setting.name: len(setting.runs) for setting in find_settings(runs)}


def test_seeds_are_repeats_of_one_setting(tmp_path: Path) -> None:
    """Whatever else varies tells settings apart; what all share does not."""
    for workers in (0, 2):
        for seed in (0, 1, 2):
            make_run(tmp_path, f"data.num_workers={workers},data.batch_size=64,seed={seed}")
    assert settings_of(tmp_path) == {"data.num_workers=0": 3, "data.num_workers=2": 3}


def test_seeds_alone_make_one_setting(tmp_path: Path) -> None:
    """Nothing varies but them."""
    for seed in (0, 1):
        make_run(tmp_path, f"seed={seed}")
    assert settings_of(tmp_path) == {"all runs": 2}


def test_a_default_is_named_as_if_it_was_given(tmp_path: Path) -> None:
    """One run says `optimizer=adam`, the other took sgd without a word; likewise of a key."""
    for name, option, lr in (("a", "adam", 0.1), ("b", "sgd", 0.2)):
        make_run(
            tmp_path,
            name,
            overrides=["optimizer=adam"] if name == "a" else ["optimizer.lr=0.2"],
            choices={"optimizer": option},
            config={"optimizer": {"lr": lr, "_target_": option}},
        )
    names = {"optimizer=adam optimizer.lr=0.1", "optimizer=sgd optimizer.lr=0.2"}
    assert set(settings_of(tmp_path)) == names


def test_what_a_choice_brings_with_it_is_not_named(tmp_path: Path) -> None:
    """Another optimizer has another learning rate by default."""
    for option, lr in (("adam", 0.001), ("sgd", 0.1)):
        make_run(
            tmp_path,
            option,
            overrides=[f"optimizer={option}"],
            choices={"optimizer": option},
            config={"optimizer": {"lr": lr}},
        )
    assert set(settings_of(tmp_path)) == {"optimizer=adam", "optimizer=sgd"}


def test_a_difference_that_no_override_explains_is_found(tmp_path: Path) -> None:
    """Somebody edited a file between two runs."""
    for name, epochs in (("a", 5), ("b", 10)):
        make_run(tmp_path, name, config={"seed": 0, "trainer": {"max_epochs": epochs}})
    assert set(settings_of(tmp_path)) == {"trainer.max_epochs=5", "trainer.max_epochs=10"}


def test_runs_of_another_project_have_their_folders_names(tmp_path: Path) -> None:
    """Their configuration is not known; the path tells them apart."""
    for name in ("before/v0", "after/v0"):
        make_run(tmp_path, name, config={})
    assert set(settings_of(tmp_path)) == {"run=before/v0", "run=after/v0"}


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


@pytest.mark.parametrize("key", ["sweep.timeout_s", "output_dir", "hydra/launcher"])
def test_how_a_run_is_watched_makes_no_setting(tmp_path: Path, key: str) -> None:
    """Names and paths change nothing that is compared."""
    for value in ("a", "b"):
        make_run(tmp_path, value, overrides=[f"{key}={value}"], config={"seed": 0})
    assert len(settings_of(tmp_path)) == 1


@pytest.mark.parametrize("key", ["logger", "callbacks", "timing.every_n_steps"])
def test_how_a_run_is_watched_is_compared_where_it_was_swept(tmp_path: Path, key: str) -> None:
    """Somebody wants to know what a logger costs."""
    for value in ("a", "b"):
        overrides = [f"{key}={value}", "experiment=own"]
        make_run(tmp_path, value, overrides=overrides, config={"seed": 0})
    assert set(settings_of(tmp_path)) == {f"{key}=a", f"{key}=b"}


def test_seeds_in_a_file_are_repeats_too(tmp_path: Path) -> None:
    """With the data's, which follows them."""
    for seed in (7, 8):
        config = {"seed": seed, "data": {"seed": seed}}
        make_run(tmp_path, str(seed), overrides=[f"experiment=e{seed}"], config=config)
    assert settings_of(tmp_path) == {"all runs": 2}


def test_a_foreign_run_beside_ours_is_a_setting_of_its_own(tmp_path: Path) -> None:
    """It has none of the keys, ours have no need of its name."""
    make_run(tmp_path, "foreign", config={}, started_at="2020-01-01")
    for device in ("cpu", "cuda"):
        make_run(tmp_path, f"device={device}")
    assert set(settings_of(tmp_path)) == {"run=foreign", "device=cpu", "device=cuda"}
    write_report(Comparison([tmp_path]), tmp_path, "t")


def test_one_second_on_two_hosts_makes_two_runs(tmp_path: Path) -> None:
    """A cluster starts them at once."""
    for host in "ab":
        make_run(tmp_path / host, "seed=0", environment={"host": host})
    assert settings_of(tmp_path) == {"all runs": 2}


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
