"""The report on a run of several ranks: which is late, what their talking costs."""

import random
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run

from hpml.records.run_record import RunRecord
from hpml.report.comparison import Comparison
from hpml.report.run.facts import only_run, sentences
from hpml.report.run.pictures import draw_run
from hpml.report.run.rank_picture import draw_ranks
from hpml.report.run.tables import epoch_table

PLACES = [
    {"host": host, "device": "cpu", "clock_offset_s": s} for host, s in (("a", 0.0), ("b", 7.5))
]
TALK = {"exposed_s": 0.5, "bytes": 2_000_000, "buckets": [1_500_000, 500_000], "bytes_per_s": 4e8}


def with_ranks(record: RunRecord) -> RunRecord:
    """Rank 1 is late in two of three epochs."""
    record.environment = record.environment | {"ranks": PLACES}
    for number, epoch in enumerate(record.epochs):
        late_s = 0.5 + number / 10
        epoch.ranks = {"late_s": [-late_s, late_s], "communication": TALK}
        if number < 2:
            epoch.ranks["late"] = {"rank": 1, "host": "b", "phase": "data", "late_s": late_s}
    return record


def run_of(folder: Path, change: Any = with_ranks) -> Any:
    record = make_run(folder, "run", epoch_s=3.0)
    change(record).write(folder / "run")
    return only_run(Comparison([folder]), [folder])


def test_sentences_table_and_picture_name_the_late_rank(tmp_path: Path) -> None:
    """With its host, its phase, how often and by how much; clocks that differ are told."""
    run = run_of(tmp_path)
    said = list(sentences(run))
    assert "rank 1 on b is late in data in 2 of 3 epochs, by 0.55 s" in said
    assert (
        "the ranks exchange 2 MB of gradients a step in 2 buckets, at 400 MB/s; "
        "15% of the time they do that and nothing else" in said
    )
    assert (
        "the ranks' clocks differ by up to 7.5 s; "
        "only times of one clock are subtracted from each other" in said
    )
    table = epoch_table(run)
    column = table.headings.index("late")
    assert [row[column].text for row in table.rows] == [
        "rank 1: 0.5 s, data",
        "rank 1: 0.6 s, data",
        "–",
    ]
    (picture,) = (picture for picture in draw_run(run) if picture.name == "ranks")
    shown, how_often = picture.figure.axes[:2]
    assert shown.images[0].get_array().tolist() == [[0.0] * 3, pytest.approx([0.5, 0.6, 0.7])]
    assert [(bar.get_y() + 0.35, bar.get_width()) for bar in how_often.patches] == [(1.0, 2)]


def test_a_record_of_before_has_neither(tmp_path: Path) -> None:
    """Where no rank was named; the rest of its page is there."""

    def of_before(record: RunRecord) -> RunRecord:
        for epoch in record.epochs:
            epoch.ranks = {"epoch_s": {"mean": 2.0, "worst": 2.5, "skew": 1.0}}
        return record

    run = run_of(tmp_path, of_before)
    assert not any("rank" in sentence for sentence in sentences(run))
    assert "late" not in epoch_table(run).headings
    assert "ranks" not in [picture.name for picture in draw_run(run)]


def test_what_is_no_figure_is_passed_over(tmp_path: Path) -> None:
    """Whatever stands in a damaged record, its sentences, table and picture are made."""
    draw = random.Random(0)
    odd: list[Any] = [None, "x", [], {}, -1, 10**200, [1, "y"], {"rank": 9}, True, [[1.0]]]
    for number in range(6):

        def damage(record: RunRecord) -> RunRecord:
            with_ranks(record)
            record.environment = record.environment | {"ranks": draw.choice([*odd, PLACES])}
            for epoch in record.epochs:
                assert epoch.ranks is not None
                epoch.ranks[draw.choice([*epoch.ranks])] = draw.choice(odd)
                if isinstance(late := epoch.ranks.get("late"), dict) and late:
                    late[draw.choice([*late])] = draw.choice(odd)
                if draw.random() < 0.3:
                    epoch.ranks = draw.choice(odd)
            return record

        folder = tmp_path / str(number)
        run = run_of(folder, damage)
        assert [*sentences(run)]
        draw_ranks(run)
        assert epoch_table(run).rows
