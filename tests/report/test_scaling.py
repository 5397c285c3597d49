"""What more processes bring: weak and strong scaling out of the records of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.records import MACHINE, make_run, shared_epoch

from hpml.records.phases import TIMES
from hpml.report.comparison import Comparison
from hpml.report.make import make_report
from hpml.report.scaling import EXCHANGE, PARTS
from hpml.report.scaling_picture import draw_scaling
from hpml.report.tables import scaling_table

THREADS = {"threads": {"intra_op": 1}}


def run_of(
    folder: Path,
    processes: int,
    batch: int,
    times: Mapping[str, float],
    exposed_s: float = 0.0,
    devices: object = None,
    lost_s: float | None = None,
    seed: int = 0,
    epochs: int = 2,
) -> None:
    """A run of two epochs of 1000 samples, of which the first one is slow."""
    name = f"trainer.devices={devices or processes},data.batch_size={batch},seed={seed}"
    ranks = {"ranks": [{"host": "a"}] * processes if processes > 1 else []}
    folder = folder / str(processes)
    machine = MACHINE | THREADS | ranks
    run = make_run(folder, name, epochs=epochs, environment=machine, wall_s=10.0 + processes)
    for epoch in run.epochs:
        if lost_s is not None:
            epoch.interference = shared_epoch(sum(times.values()), lost_s)
        epoch.time = {key: times.get(key, 0.0) for key in TIMES}
        epoch.time["epoch_s"] = sum(times.values())
        talk = {"exposed_s": exposed_s, "bytes": 1000, "bytes_per_s": 5e8}
        epoch.ranks = {"communication": talk} if processes > 1 else None
    if epochs > 1:
        run.epochs[0].time["other_s"] = run.epochs[0].time["epoch_s"] = 100.0
    run.write(folder / name)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """One, two and four processes of 64 and 32 samples a step: weak and strong lines."""
    run_of(tmp_path, 1, 64, {"data_s": 1.0, "train_s": 7.0})
    run_of(tmp_path, 2, 64, {"data_s": 1.0, "train_s": 4.0}, exposed_s=0.5)
    run_of(tmp_path, 4, 64, {"data_s": 1.0, "train_s": 3.0}, exposed_s=1.0)
    run_of(tmp_path, 2, 32, {"data_s": 0.5, "train_s": 4.5}, exposed_s=1.0)
    return Comparison([tmp_path])


def test_lines_compare_like_with_like(comparison: Comparison) -> None:
    """The same batch a process, or the same batch of all together; nothing else differs."""
    weak, strong = comparison.scaling  # of 32 a process there is one point
    assert weak.name == "weak scaling, 64 samples a process"
    assert strong.name == "strong scaling, 64 samples a step"
    assert [point.processes for point in weak.points] == [1, 2, 4]
    assert [weak.speed_up(point) for point in weak.points] == pytest.approx([1, 1.6, 2.0])
    assert [weak.efficiency(point) for point in weak.points] == pytest.approx([1, 0.8, 0.5])
    assert [point.rate for point in weak.points] == pytest.approx([125, 200, 250])
    assert [strong.efficiency(point) for point in strong.points] == pytest.approx([1, 0.8])


def test_what_is_lost_adds_up_to_the_rest(comparison: Comparison) -> None:
    """By phase; what is exchanged is no more training."""
    line = comparison.scaling[0]
    two, four = line.points[1:]
    lost = line.lost(two)
    assert list(lost) == list(PARTS)
    assert lost[EXCHANGE] == pytest.approx(0.5 / 5)
    assert lost["waiting for data"] == pytest.approx((2 * 1.0 - 1.0) / 10)
    assert lost["training"] == pytest.approx(0.0)
    for point in (two, four):
        assert sum(line.lost(point).values()) == pytest.approx(1 - line.efficiency(point))


def test_the_report_has_a_table_a_picture_and_sentences(
    comparison: Comparison, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    """With the ideal line; processes that share cores are told."""
    sentences = [text for text in comparison.sentences if "scaling" in text]
    assert sentences[0] == (
        "weak scaling, 64 samples a process: 4 processes are 2 times as fast as 1, "
        "an efficiency of 50%; most is lost by exchanging gradients, 25% of the time; "
        "4 processes of 1 thread share 2 cores; one run each"
    )
    table = scaling_table(comparison)
    assert table.headings[:4] == ["scaling", "processes", "runs", "steady s"]
    assert [cell.text for cell in table.rows[1][1:7]] == ["2", "1", "5.00", "200", "1.60", "80%"]
    assert table.rows[1][-1].text == "500 MB/s"
    picture = draw_scaling(comparison.scaling)
    assert picture is not None
    left, right = picture.figure.axes
    ideal, *lines = left.lines
    assert picture.caption.endswith("; one run each")
    assert ideal.get_xydata().tolist() == [[1, 1], [4, 4]]
    assert lines[0].get_ydata().tolist() == pytest.approx([1, 1.6, 2.0])
    ends = [bar.get_x() + bar.get_width() for bar in right.patches]
    assert max(ends) == pytest.approx(0.5)
    make_report([tmp_path], tmp_path / "out")
    assert (tmp_path / "out" / "scaling.png").exists()
    for name in ("report.html", "report.md"):
        assert "What more processes bring" in (tmp_path / "out" / name).read_text()
    capsys.readouterr()


def test_one_number_of_processes_is_no_scaling(tmp_path: Path) -> None:
    """Nor is a sweep over something else."""
    run_of(tmp_path, 2, 64, {"train_s": 4.0})
    run_of(tmp_path, 2, 32, {"train_s": 4.0})
    comparison = Comparison([tmp_path])
    assert comparison.scaling == []
    assert draw_scaling(comparison.scaling) is None
    assert not scaling_table(comparison).rows


@pytest.mark.parametrize("devices", ["-1", "auto", "1"])
def test_processes_are_those_that_trained(tmp_path: Path, devices: str) -> None:
    """Not what was asked for, which a machine and a launcher make one thing or another."""
    run_of(tmp_path, 1, 64, {"train_s": 8.0}, devices=devices)
    run_of(tmp_path, 2, 64, {"train_s": 5.0}, devices=devices)
    run_of(tmp_path, 4, 64, {"train_s": 4.0}, devices="4")
    (weak,) = Comparison([tmp_path]).scaling
    assert [point.processes for point in weak.points] == [1, 2, 4]
    assert [weak.speed_up(point) for point in weak.points] == pytest.approx([1, 1.6, 2.0])


def test_a_record_that_does_not_tell_its_processes_is_left_out(tmp_path: Path) -> None:
    """It was not one process: its epochs have several ranks."""
    run_of(tmp_path, 1, 64, {"train_s": 8.0})
    run_of(tmp_path, 2, 64, {"train_s": 5.0})
    of_before = make_run(tmp_path, "trainer.devices=4,data.batch_size=64", environment=MACHINE)
    for epoch in of_before.epochs:
        epoch.ranks = {"epoch_s": {"mean": 2.0, "worst": 2.5, "skew": 1.0}}
    of_before.write(tmp_path / "trainer.devices=4,data.batch_size=64")
    (weak,) = Comparison([tmp_path]).scaling
    assert [(point.processes, point.sample.n) for point in weak.points] == [(1, 1), (2, 1)]


def test_what_is_disturbed_is_marked(tmp_path: Path) -> None:
    """In the sentence, the table and the picture, where the order is certain none the less."""
    run_of(tmp_path, 1, 64, {"train_s": 8.0}, lost_s=0.5)
    run_of(tmp_path, 2, 64, {"train_s": 5.0}, lost_s=0.0)
    comparison = Comparison([tmp_path])
    (sentence,) = (text for text in comparison.sentences if "scaling" in text)
    assert "2 processes are 1.6 times as fast as 1" in sentence
    marked = "; one run each; disturbed by others: processes=1"
    assert sentence.endswith(marked)
    assert [row[3].text for row in scaling_table(comparison).rows] == ["8.00!", "5.00"]
    picture = draw_scaling(comparison.scaling)
    assert picture is not None
    assert picture.caption.endswith(marked)
    marks = [(text.get_text(), text.xy) for text in picture.figure.axes[0].texts]
    assert marks[1:] == [("!", (1, 1.0)), ("", (2, 1.6))]


def test_no_speed_up_is_named_that_others_may_have_made(tmp_path: Path) -> None:
    """As no fastest setting is: one process alone may be as fast without what it lost."""
    run_of(tmp_path, 1, 64, {"train_s": 8.0}, lost_s=4.0)
    run_of(tmp_path, 2, 64, {"train_s": 5.0}, lost_s=0.0)
    sentences = Comparison([tmp_path]).sentences
    assert any(text.startswith("no fastest can be named") for text in sentences)
    assert sentences[-1] == (
        "weak scaling, 64 samples a process: no speed-up can be named, "
        "as processes=1 lost up to 4.00 s of 8.00 s an epoch to others"
    )


def test_runs_of_several_seeds_have_a_spread(tmp_path: Path) -> None:
    """In the table as in that of the settings, and as error bars."""
    for seed, epoch_s in enumerate((7.9, 8.0, 8.1)):
        run_of(tmp_path, 1, 64, {"train_s": epoch_s}, seed=seed)
        run_of(tmp_path, 2, 64, {"train_s": epoch_s / 2}, seed=seed)
    comparison = Comparison([tmp_path])
    table = scaling_table(comparison)
    assert [cell.text for cell in table.rows[0][1:4]] == ["1", "3", "8.00 ± 0.25"]
    assert comparison.sentences[-1].endswith("; means over 3 runs")
    picture = draw_scaling(comparison.scaling)
    assert picture is not None
    assert "error bars are 95 % intervals" in picture.caption
    (bars,) = (made.lines[2][0] for made in picture.figure.axes[0].containers)
    low, high = bars.get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((8 / (4 + 0.1242), 8 / (4 - 0.1242)), abs=0.001)


def test_of_one_epoch_each_all_epochs_count(tmp_path: Path) -> None:
    """And the caption says so; what is a little cheaper is 0, without a sign."""
    run_of(tmp_path, 1, 64, {"data_s": 1.0, "train_s": 7.0}, epochs=1)
    run_of(tmp_path, 2, 64, {"data_s": 0.499, "train_s": 4.501}, epochs=1)
    comparison = Comparison([tmp_path])
    table = scaling_table(comparison)
    assert table.headings[3] == "epoch s"
    waiting = table.headings.index("lost = data")
    assert table.rows[1][waiting].value < 0
    assert table.rows[1][waiting].text == "0%"
    make_report([tmp_path], tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "All is of the time of an epoch." in page
