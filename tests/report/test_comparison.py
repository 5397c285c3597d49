from pathlib import Path
from typing import Any

import pytest
from helpers.records import MACHINE, make_run

from hpml.config.lab_advice import LAB
from hpml.report.comparison import Comparison
from hpml.report.tables import chosen_table, setting_table


def test_the_fastest_and_the_best_are_told(tmp_path: Path) -> None:
    """With intervals; what noise cannot tell from them is tied."""
    chance = {"sgd": (0, 3, 1, 2), "adam": (2, 0, 3, 1), "adagrad": (1, 2, 0, 3)}
    means = {"sgd": (2.0, 0.5), "adam": (2.001, 0.80), "adagrad": (9.0, 0.801)}
    for name, (epoch_s, accuracy) in means.items():
        for seed, noise in enumerate(chance[name]):
            measured = {"epoch_s": epoch_s + 0.01 * noise, "accuracy": accuracy + 0.01 * noise}
            make_run(tmp_path, f"optimizer={name},seed={seed}", **measured)
    assert Comparison([tmp_path]).sentences == [
        "fastest: optimizer=sgd, 2.01 ± 0.02 s (time of an epoch after the first); "
        "tied with it: optimizer=adam",
        "best: optimizer=adagrad, 81.60 ± 2.05% (last val/accuracy, on the test set); "
        "tied with it: optimizer=adam",
    ]


def test_single_runs_are_not_crowned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their order may be chance: the sentence says what to do, and no figure has a star.

    In the lab it says so by the lab's key.
    """
    for workers, epoch_s in ((0, 2.0), (1, 3.0)):
        make_run(tmp_path, f"data.num_workers={workers}", epoch_s=epoch_s)
    comparison = Comparison([tmp_path])
    assert comparison.sentences == [
        "fastest: data.num_workers=0, 2.00 s (time of an epoch after the first), in one run, "
        "which is too few to tell it from chance: sweep seed=0,1,2",
        "last val/accuracy, on the test set: 50.00% in all settings",
    ]
    assert not any("*" in cell.text for row in setting_table(comparison).rows for cell in row)
    monkeypatch.setenv(LAB, "1")
    assert Comparison([tmp_path]).sentences[0].endswith("from chance: lab.seeds=3 repeats each")


def test_a_single_run_that_leads_is_named_and_not_crowned(tmp_path: Path) -> None:
    """The rest of its sweep failed, say; those that were repeated are compared."""
    for name, accuracy in (("sgd,seed=0", 0.4), ("sgd,seed=1", 0.41), ("adam,seed=0", 0.8)):
        make_run(tmp_path, f"optimizer={name}", accuracy=accuracy)
    sentence = Comparison([tmp_path]).sentences[1]
    assert sentence.startswith("best: optimizer=adam, 80.00% (last val/accuracy")
    assert "in one run, which is too few" in sentence
    assert "of what ran again: optimizer=sgd, 40.50 ± 6.35%" in sentence


def test_one_run_is_compared_with_nothing(tmp_path: Path) -> None:
    """No sentence, one row."""
    make_run(tmp_path, "seed=0")
    comparison = Comparison([tmp_path])
    assert comparison.sentences == []
    assert len(setting_table(comparison).rows) == 1


DEVICES = [{"environment": MACHINE | {"device": device}} for device in ("cpu", "cuda")]
VERSIONS = [MACHINE | {"torch": torch, "git_commit": None} for torch in ("2.14.1", "2.11.0")]


@pytest.mark.parametrize(
    ("key", "changes", "lines"),
    [
        (
            "seed",
            [{"environment": VERSIONS[other]} for other in (0, 1, 1)],
            ["torch: 2.14.1 (1 run), 2.11.0 (2 runs)"],
        ),
        # the commit does not say it where the sources were edited
        (
            "seed",
            [{"code_fingerprint": 10 * letter} for letter in "abb"],
            ["code: aaaaaaaa (1 run), bbbbbbbb (2 runs)"],
        ),
        # only a comparison of devices may differ in the device
        ("device", DEVICES, []),
        ("optimizer", DEVICES, ["device: cpu (1 run), cuda (1 run)"]),
    ],
    ids=["versions", "code", "devices", "another device"],
)
def test_other_hardware_and_code_is_reported(
    tmp_path: Path, key: str, changes: list[dict[str, Any]], lines: list[str]
) -> None:
    """With how many runs had which."""
    for day, change in enumerate(changes, start=1):
        make_run(tmp_path, f"{key}={day}", started_at=f"2026-01-0{day}", **change)
    assert Comparison([tmp_path]).differences == lines


def test_runs_that_shared_a_machine_are_told(tmp_path: Path) -> None:
    """By the launcher, or by their times on one host, whatever became of them."""
    times = {"a": "00:00:00", "b": "00:00:05", "c": "00:01:00"}  # each takes 10 seconds
    for name, time in times.items():
        status = "interrupted" if name == "a" else "completed"
        make_run(tmp_path / "x", name, started_at=f"2026-01-01T{time}+00:00", status=status)
    comparison = Comparison([tmp_path / "x"])
    assert comparison.differences == []
    assert comparison.disturbances == []
    at_same_time = "at the same time as another one on the machine"
    assert comparison.company == [f"2 runs {at_same_time}: a, b"]
    make_run(tmp_path / "y", "d", environment=MACHINE | {"jobs_at_once": 4})
    assert Comparison([tmp_path / "y"]).company == ["1 run of a sweep of 4 jobs at once"]
    for name in "ef":
        make_run(tmp_path / "z", name, environment={})
    assert Comparison([tmp_path / "z"]).company == []  # who knows where


def test_the_monitor_says_which_way_is_better(tmp_path: Path) -> None:
    """By its mode, or else by its name."""
    cases = ["perplexity min a", "perplexity auto b", "loss auto a", "loss max b"]
    for case in cases:
        monitor, mode, best = f"val/{case}".split()
        folder = tmp_path / f"{monitor}-{mode}"
        for name, value in (("a", 10.0), ("b", 20.0)):
            config = {"seed": 0, "x": name, "monitor": monitor, "monitor_mode": mode}
            record = make_run(folder, f"x={name}", config=config)
            record.epochs[-1].metrics[monitor] = value
            record.write(folder / f"x={name}")
        assert Comparison([folder]).sentences[1].startswith(f"best: x={best}, ")


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        # for each optimizer the best of its rates, and out of how many
        (
            ["sgd,{}=1", "sgd,{}=2", "sgd,{}=3", "adam,{}=1", "adam,{}=2"],
            [["adam", "2", "2", "65.00%"], ["sgd", "2", "3", "60.00%"]],
        ),
        # each optimizer has one, which was not swept
        (["sgd,{}=1", "adam,{}=2"], []),
        # workers are not chosen with them
        (
            [f"{o},x={n},{{}}={rate}" for o in ("sgd", "adam") for n in "02" for rate in "12"],
            [["adam", n, "2", "2", "65.00%"] for n in "02"]
            + [["sgd", n, "2", "2", "60.00%"] for n in "02"],
        ),
    ],
    ids=["chosen", "not swept", "of each combination"],
)
def test_a_learning_rate_that_was_chosen_is_called_that(
    tmp_path: Path, names: list[str], rows: list[list[str]]
) -> None:
    """The best rate of each optimizer, and of each combination of the other keys."""
    for name in names:
        accuracy = 0.5 + 0.1 * name.endswith("=2") + 0.05 * name.startswith("adam")
        make_run(tmp_path, "optimizer=" + name.format("optimizer.lr"), accuracy=accuracy)
    table = chosen_table(Comparison([tmp_path]))
    columns = [table.headings.index(key) for key in table.headings if key != "runs"]
    assert sorted([row[column].text for column in columns] for row in table.rows) == rows


def test_runs_that_did_not_complete_are_not_averaged(tmp_path: Path) -> None:
    """They are listed."""
    make_run(tmp_path, "seed=0", epoch_s=2.0)
    make_run(tmp_path, "seed=1", epoch_s=9.0, status="failed", error=None)
    comparison = Comparison([tmp_path])
    assert [run.directory.name for run in comparison.unfinished] == ["seed=1"]
    (row,) = setting_table(comparison).rows
    assert [cell.text for cell in row][:4] == ["all runs", "1", "2.00", "2.33"]
