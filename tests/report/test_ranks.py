"""The report on a run of several ranks: which is late, what their talking costs."""

import random
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_epoch, make_run, shared_epoch

from hpml.records.run_record import RunRecord
from hpml.report.comparison import Comparison
from hpml.report.run.facts import only_run, sentences
from hpml.report.run.pictures import draw_run
from hpml.report.run.rank_picture import draw_ranks
from hpml.report.run.ranks import check_ranks
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
    assert how_often.get_xlabel() == "epochs in which it was late (of 3)"


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


def test_a_disturbed_epoch_names_no_rank(tmp_path: Path) -> None:
    """In no sentence, and not among the late ones of the picture, which tells so."""

    def disturbed(record: RunRecord) -> RunRecord:
        with_ranks(record)
        for epoch, lost_s in zip(record.epochs, (2.0, 0.0, 0.0), strict=True):
            epoch.interference = shared_epoch(3.0, lost_s)
        return record

    run = run_of(tmp_path, disturbed)
    often = "in 1 of 2 epochs that others did not disturb"
    assert f"rank 1 on b is late in data {often}, by 0.6 s" in list(sentences(run))
    picture = draw_ranks(run)
    assert picture is not None
    assert picture.caption.endswith("; 1 disturbed epoch names nobody")
    how_often = picture.figure.axes[1]
    assert [bar.get_width() for bar in how_often.patches] == [1]
    assert how_often.get_xlabel() == "epochs in which it was late (of 2)"


def test_epochs_stand_at_their_numbers(tmp_path: Path) -> None:
    """One that is missing leaves a gap; where no rank was late there is nothing to count."""

    def with_a_gap(record: RunRecord) -> RunRecord:
        with_ranks(record)
        del record.epochs[1]
        for epoch in record.epochs:
            assert epoch.ranks is not None
            epoch.ranks.pop("late", None)
        return record

    picture = draw_ranks(run_of(tmp_path, with_a_gap))
    assert picture is not None
    shown, colours = picture.figure.axes
    (image,) = shown.images
    assert image.get_extent() == [-0.5, 2.5, 1.5, -0.5]
    assert image.get_array().tolist() == [[0.0, None, 0.0], pytest.approx([0.5, None, 0.7])]
    assert colours.get_ylabel() == "late by (s)"
    assert "how often" not in picture.caption


@pytest.mark.parametrize(
    ("late", "talk"),
    [({"rank": True}, {"bytes": True}), ({"late_s": -0.1}, {"exposed_s": -1.0})],
)
def test_no_amount_is_negative_or_a_truth_value(late: Any, talk: Any) -> None:
    """How late a rank is against the others may be: it is ahead of them."""
    epoch = make_epoch()
    named = {"rank": 1, "phase": "data", "late_s": 0.5}
    epoch.ranks = {"late_s": [-0.5, 0.5], "late": named | late, "communication": TALK | talk}
    check_ranks(epoch)
    assert epoch.ranks == {"late_s": [-0.5, 0.5]}
