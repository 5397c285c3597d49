"""Times that others disturbed give no answer beyond what they leave certain."""

from pathlib import Path
from typing import Any

import pytest

from hpml.lab.report.answers import about_devices, about_times
from hpml.lab.report.batch_norm import about_norm
from hpml.lab.report.epoch_table import epoch_table
from hpml.lab.report.optimizers import about_optimizers
from hpml.report.comparison import Comparison

from .test_answers import AGAIN, HERE, one, write

BUSY = "The machine was too busy for an answer: "
END = f"; run it again with `{AGAIN}`."
HAD = "for a core that other programs had"
CURVES: dict[str, Any] = {"times": (10.0, 10.0, 10.0)}


def test_a_time_that_was_disturbed_is_none(tmp_path: Path) -> None:
    """C2 says what was lost, and which command runs it again; undisturbed it is as before."""
    disturbed = one(tmp_path / "a", **CURVES, lost=(2, 8, 8))
    assert about_times(disturbed, AGAIN) == [
        f"{BUSY}the process waited up to 18 s of 30 s {HAD}{END}"
    ]
    quiet = about_times(one(tmp_path / "b", **CURVES, lost=(0, 0.1, 0)), AGAIN)
    assert quiet == about_times(one(tmp_path / "c", **CURVES), AGAIN)
    assert quiet[0] == "An epoch takes 10.00 s, the mean over 3 epochs of 1 run."


def test_a_single_disturbed_epoch_is_marked(tmp_path: Path) -> None:
    """The mean hardly has it; the first epoch is compared with none that was."""
    times = (12.0, *[10.0] * 9)
    curves = {"losses": (1.0,) * 10, "accuracies": (0.1,) * 10, "times": times}
    runs = one(tmp_path, **curves, lost=(2, *[0] * 9))
    assert about_times(runs, AGAIN)[0].startswith("An epoch takes 10.20 s")
    not_compared = "The first epoch is not compared with the later ones: some were disturbed."
    assert about_times(runs, AGAIN)[-1] == not_compared
    firsts = [row[0].text for row in epoch_table(runs).rows]
    assert firsts[:3] == ["1!", "2", "3"]


@pytest.mark.parametrize(
    ("lost", "last"),
    [
        (0.0, "gpu is 2 times as fast as cpu, in one run each, too few to tell from chance."),
        (
            2.0,
            "gpu is faster than cpu, but how many times is not known: cpu waited up to 4 s of 20 s",
        ),
        (6.0, f"{BUSY}cpu waited up to 12 s of 20 s {HAD}{END}"),
    ],
)
def test_devices_of_which_one_was_disturbed(tmp_path: Path, lost: float, last: str) -> None:
    """Which is faster is said where no loss could have made it; how many times then is not."""
    cpu = one(tmp_path / "cpu", **CURVES, lost=(0, lost, lost))
    gpu = one(tmp_path / "gpu", times=(9, 5, 5), lost=(0, 0, 0))
    sentences = about_devices({"cpu": cpu, "gpu": gpu}, AGAIN, HERE)
    assert sentences[-1].startswith(last)
    assert ("cpu: 10.00 s" in sentences[0]) == (lost < 5)
    # of one device a quiet machine would tell no more
    (alone,) = about_devices({"cpu": one(tmp_path / "b", **CURVES, lost=(0, 6, 6))}, AGAIN, HERE)
    assert alone.startswith(f"There is nothing to compare cpu with: run `{HERE}` on")


@pytest.mark.parametrize("is_busy", [False, True])
def test_no_optimizer_is_fastest_by_a_disturbance(tmp_path: Path, is_busy: bool) -> None:
    """Three that cost the same, a busy program beside one: it is named, and no winner is."""
    times = {"sgd": 10.0, "nesterov": 10.1, "adam": 16.0 if is_busy else 10.2}
    for name, s in times.items():
        lost = s - 10.2 if s > 15 else 0.0
        write(tmp_path, f"optimizer={name}", times=(s,) * 3, lost=(lost,) * 3)
    sentences = about_optimizers(Comparison([tmp_path]), AGAIN)
    assert (f"{BUSY}adam waited up to 12 s of 32 s {HAD}{END}" == sentences[-1]) == is_busy
    about_time = [s for s in sentences if s.startswith(("Fastest", "Slowest"))]
    assert len(about_time) == (0 if is_busy else 2)
    assert sentences[0].startswith("By last training loss: ")


def test_an_order_that_no_disturbance_made(tmp_path: Path) -> None:
    """Fastest is what stays it; by how much it leads is not said."""
    write(tmp_path, "optimizer=sgd", times=(10.0,) * 3, lost=(0,) * 3)
    write(tmp_path, "optimizer=adam", times=(30.0,) * 3, lost=(5,) * 3)
    *_, fastest, unknown = about_optimizers(Comparison([tmp_path]), AGAIN)
    assert fastest.startswith("Fastest: optimizer=sgd, 10.00 s")
    assert unknown == f"By how much they differ is not known: adam waited up to 10 s of 60 s {HAD}."


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (0.0, ", with it 10.00 s: longer, in one run each"),
        (2.0, "; by how much is not known: the run without norm waited up to 4 s of 24 s"),
        (5.0, BUSY),
    ],
)
def test_a_norm_costs_nothing_by_a_disturbance(tmp_path: Path, lost: float, expected: str) -> None:
    """Loss and accuracy are compared all the same."""
    times = (16.0,) * 3 if lost < 5 else (12.0,) * 3
    without = one(tmp_path / "without", times=times, lost=(lost,) * 3)
    loss, _, time, *_ = about_norm(one(tmp_path / "with", **CURVES), without, AGAIN)
    assert expected.replace("24 s", f"{2 * times[0]:.0f} s") in time
    assert loss == "Without norm the last training loss is 1.000, with it 1.000: the same."
