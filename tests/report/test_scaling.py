"""What more processes bring: weak and strong scaling out of the records of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.records import MACHINE, make_run

from hpml.records.phases import TIMES
from hpml.report import page as page_of_report
from hpml.report.comparison import Comparison
from hpml.report.make import make_report
from hpml.report.scaling import EXCHANGE, PARTS
from hpml.report.scaling_picture import draw_scaling
from hpml.report.tables import scaling_table

THREADS = {"threads": {"intra_op": 1}}


def run_of(
    folder: Path, processes: int, batch: int, times: Mapping[str, float], exposed_s: float = 0.0
) -> None:
    """A run of two epochs of 1000 samples, of which the first one is slow."""
    name = f"trainer.devices={processes},data.batch_size={batch}"
    run = make_run(folder, name, epochs=2, environment=MACHINE | THREADS)
    for epoch in run.epochs:
        epoch.time = {key: times.get(key, 0.0) for key in TIMES}
        epoch.time["epoch_s"] = sum(times.values())
        talk = {"exposed_s": exposed_s, "bytes": 1000, "bytes_per_s": 5e8}
        epoch.ranks = {"communication": talk} if processes > 1 else None
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
        "4 processes of 1 thread share 2 cores"
    )
    table = scaling_table(comparison)
    assert [cell.text for cell in table.rows[1][1:5]] == ["2", "200", "1.60", "80%"]
    assert table.rows[1][-1].text == "500 MB/s"
    picture = draw_scaling(comparison.scaling)
    assert picture is not None
    left, right = picture.figure.axes
    ideal, *lines = left.lines
    assert ideal.get_xydata().tolist() == [[1, 1], [4, 4]]
    assert lines[0].get_ydata().tolist() == pytest.approx([1, 1.6, 2.0])
    ends = [bar.get_y() + bar.get_height() for bar in right.patches]
    assert max(ends) == pytest.approx(0.5)
    monkeypatch.setattr(page_of_report, "PNG_DPI", 20)
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
