"""Records that were made before, compared unpaired."""

import math
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run

from hpml.compare.question import questions_of
from hpml.compare.records import of_records, welch_interval
from hpml.errors import UserError

NAMES = {"before": "old", "after": "new"}


def runs(folder: Path, epoch_s: float, count: int = 4, **changes: Any) -> list[Path]:
    for seed in range(count):
        make_run(folder, f"x=1,seed={seed}", epoch_s=epoch_s, noise=0.002, **changes)
    return [folder]


def test_runs_of_two_folders_are_compared_unpaired(tmp_path: Path) -> None:
    """Of like hardware, by Welch's interval; the answer says that they are not paired."""
    before, after = runs(tmp_path / "a", 2.0), runs(tmp_path / "b", 2.2)
    answer = of_records(before, after, NAMES, questions_of("step,epoch,samples,train", "3%"))
    assert (answer.verdict, answer.exit_code) == ("slower", 1)
    assert "a step +" in answer.sentence
    assert "(190 → 209 ms)" in answer.sentence  # an epoch without validation, of ten steps
    assert answer.notes[0].startswith("from records: runs of each side")
    same = of_records(before, before, NAMES, questions_of("step", "3%"))
    assert same.verdict == "not slower"


def test_one_run_of_each_proves_nothing(tmp_path: Path) -> None:
    """However large the difference."""
    before, after = runs(tmp_path / "a", 2.0, 1), runs(tmp_path / "b", 9.0, 1)
    answer = of_records(before, after, NAMES, questions_of("step", "3%"))
    assert (answer.verdict, answer.exit_code) == ("undecided", 3)
    assert answer.sentence.startswith("undecided: 1 run and 1 run are too few, or vary too much")


def test_unlike_hardware_is_refused(tmp_path: Path) -> None:
    """Absolute times of different machines are never compared."""
    other = {"cpu": "another", "cpu_cores": 2, "accelerators": []}
    before, after = runs(tmp_path / "a", 2.0), runs(tmp_path / "b", 2.0, environment=other)
    with pytest.raises(UserError, match=r"^CPU: the records are of CPU and another; absolute"):
        of_records(before, after, NAMES, questions_of("step", "3%"))


def test_what_records_do_not_hold_is_refused(tmp_path: Path) -> None:
    """A folder without completed runs, a figure that nobody has measured."""
    before = runs(tmp_path / "a", 2.0)
    failed = runs(tmp_path / "b", 2.0, status="failed")
    with pytest.raises(UserError, match=r"^new: holds no record of a completed run"):
        of_records(before, failed, NAMES, questions_of("step", "3%"))
    with pytest.raises(UserError, match=r"^--of=joules: these records do not have it"):
        of_records(before, before, NAMES, questions_of("joules", "3%"))


def test_disturbed_runs_are_left_out(tmp_path: Path) -> None:
    """A side that has no others is undecided, however slow it looks; the answer counts them."""
    before, after = runs(tmp_path / "a", 2.0), runs(tmp_path / "b", 4.0, lost_s=1.0)
    answer = of_records(before, after, NAMES, questions_of("step", "3%"))
    assert answer.verdict == "undecided"
    assert "4 of 8 runs were disturbed; 4 runs and 0 runs are too few" in answer.sentence
    assert answer.notes[1] == "4 of 8 runs disturbed by others, and left out"
    assert answer.disturbed == 4


def test_a_side_has_one_setting(tmp_path: Path) -> None:
    """Runs that differ in more than their seed are refused, with what they differ in."""
    before = runs(tmp_path / "a", 2.0)
    make_run(tmp_path / "a", "x=2,seed=9")
    with pytest.raises(UserError, match=r"^old: holds runs of 2 settings: x=1 and 2; give"):
        of_records(before, before, NAMES, questions_of("step", "3%"))


def test_records_are_asked_as_rounds_are(tmp_path: Path) -> None:
    """A tiny phase cannot double, checkpoints are in no step, and start-up is refused."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, data_s, saving_s in zip(folders, (0.001, 0.002), (0.0, 1.0), strict=True):
        for seed in range(4):
            record = make_run(folder, f"x=1,seed={seed}")
            for epoch in record.epochs:
                epoch.time |= {"epoch_s": 2.0 + saving_s + seed / 100, "data_s": data_s}
                epoch.other_split = {"save_checkpoint": saving_s}
            record.write(folder / f"x=1,seed={seed}")
    answer = of_records(folders[:1], folders[1:], NAMES, questions_of("step,data", "3%"))
    assert answer.verdict == "not slower"
    step, data = (each.ratio for each in answer.outcomes)
    assert step is not None
    assert data is not None
    assert (step.mean, data.mean) == (pytest.approx(0.0), 0.0)
    with pytest.raises(UserError, match=r"^--of=startup: "):
        of_records(folders[:1], folders[1:], NAMES, questions_of("startup", "3%"))


def test_the_interval_of_welch() -> None:
    """Of 1, 2, 3 and 2, 4, 6: 2 ± 4.16, with 2.94 degrees of freedom."""
    interval = welch_interval([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1)
    assert interval.mean == pytest.approx(2.0)
    assert interval.half_width == pytest.approx(4.1554, abs=1e-4)
    assert math.isinf(welch_interval([1.0], [2.0, 3.0], 1).high)


def test_values_that_are_alike_are_not_certain() -> None:
    """Two and two have no interval; four and four have one of values that vary by 0.2 %."""
    assert welch_interval([math.log(100)] * 2, [math.log(104)] * 2, 1).half_width is None
    four = welch_interval([math.log(100)] * 4, [math.log(104)] * 4, 1)
    assert four.half_width == pytest.approx(2.447 * 0.002 / math.sqrt(2), rel=1e-3)
