"""Times that others disturbed: marked, told in words, and not ranked where they decide nothing."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
from helpers.records import MACHINE, make_run, shared_epoch

from hpml.records.run_record import RunRecord
from hpml.report.collect import collect
from hpml.report.comparison import Comparison
from hpml.report.make import make_report, write_report
from hpml.report.pictures import draw
from hpml.report.tables import setting_table
from hpml.report.times_in_doubt import Span

NAMES = ("sgd", "nesterov", "adam")


def sweep_of_equals(folder: Path, number: int, seeds: int, disturbed: str = "") -> Comparison:
    """Three optimizers of 10 s an epoch with 1 % of noise; one may have had a program beside it.

    What that took, 1 to 53 s an epoch, its record tells to a tenth.
    """
    dice = random.Random(number)
    for name in NAMES:
        for seed in range(seeds):
            taken_s = dice.uniform(1, 53) if name == disturbed else 0.0
            made = f"optimizer={name},seed={seed}"
            make_run(
                folder,
                made,
                epoch_s=10 * dice.gauss(1, 0.01) + taken_s,
                lost_s=0.01 + taken_s * dice.uniform(0.9, 1.1),
                accuracy=0.5 + 0.1 * NAMES.index(name) + dice.uniform(0, 0.01),
            )
    return Comparison([folder])


def time_cells(comparison: Comparison) -> dict[str, str]:
    """What the table shows of each setting's time."""
    table = setting_table(comparison)
    return {row[0].text: row[table.headings.index("steady s")].text for row in table.rows}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("number", range(20))
def test_of_three_equal_jobs_none_wins_where_one_is_disturbed(
    tmp_path: Path, seeds: int, number: int
) -> None:
    """The disturbed one is named and marked, has no place by time, and has one by accuracy."""
    name = NAMES[number % 3]
    comparison = sweep_of_equals(tmp_path, number, seeds, disturbed=name)
    fastest, best = comparison.sentences
    assert fastest.startswith("no fastest can be named (time of an epoch after the first): ")
    assert f"but optimizer={name} lost " in fastest
    assert fastest.endswith(f"; not ranked, being disturbed: optimizer={name}")
    assert best.startswith("best: optimizer=adam, ")
    assert len(comparison.disturbances) == seeds
    for line in comparison.disturbances:
        assert line.startswith(f"run optimizer={name},seed=")
        assert line.endswith(" s for a core that other programs had")
    assert {each for each, text in time_cells(comparison).items() if "!" in text} == {name}
    assert not any("*" in text for text in time_cells(comparison).values())
    assert comparison.by_time[-1].setting.values["optimizer"] == name


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("number", range(20))
def test_of_three_equal_jobs_none_is_marked_where_none_is_disturbed(
    tmp_path: Path, seeds: int, number: int
) -> None:
    """Nor is any told apart from the others that ran again."""
    comparison = sweep_of_equals(tmp_path, number, seeds)
    assert comparison.disturbances == []
    assert not comparison.has_disturbed
    assert "!" not in "".join(time_cells(comparison).values())
    if seeds > 1:
        assert comparison.sentences[0].endswith("; no other can be told from it")


@pytest.mark.parametrize(
    ("runs", "begins"),
    [
        # surely faster than the disturbed one, whatever that lost
        ({"a": (2.0, 0.0), "b": (9.8, 2.0)}, "fastest: x=a, 2.00 s ("),
        # disturbed, and the fastest all the same
        ({"a": (5.0, 1.0), "b": (9.0, 0.0)}, "fastest: x=a, 5.00 s ("),
        # what was not disturbed may have lost its lead too
        ({"a": (2.0, 0.0), "b": (2.03, 0.04)}, "no fastest can be named ("),
        ({"a": (2.0, 0.0), "b": (2.06, 0.04)}, "fastest: x=a, 2.00 s ("),
        # two that may each be the faster one
        ({"a": (9.0, 5.0), "b": (8.0, 5.0)}, "no fastest can be named ("),
        # a tenth of a disturbed time is left open
        ({"a": (8.0, 0.0), "b": (10.0, 1.5)}, "no fastest can be named ("),
    ],
)
def test_a_fastest_is_named_only_where_its_lead_is_more_than_what_others_took(
    tmp_path: Path, runs: dict[str, tuple[float, float]], begins: str
) -> None:
    """Its own time as measured, the others' without what they may have lost."""
    for name, (epoch_s, lost_s) in runs.items():
        make_run(tmp_path, f"x={name}", epoch_s=epoch_s, lost_s=lost_s)
    assert Comparison([tmp_path]).sentences[0].startswith(begins)


def test_what_is_surely_apart_keeps_its_place_and_its_mark(tmp_path: Path) -> None:
    """Others are ranked without the one that is in doubt."""
    runs = {"a": (2.0, 0.0), "b": (4.0, 0.0), "c": (9.0, 5.0), "d": (20.0, 3.0)}
    for name, (epoch_s, lost_s) in runs.items():
        for seed in range(3):
            noise = random.Random(f"{name}{seed}").uniform(0, 0.01)
            make_run(tmp_path, f"x={name},seed={seed}", epoch_s=epoch_s + noise, lost_s=lost_s)
    comparison = Comparison([tmp_path])
    standings = {r.setting.values["x"]: (r.standing, r.in_doubt) for r in comparison.by_time}
    fastest = comparison.sentences[0]
    assert fastest.startswith("fastest: x=a, 2.0")
    assert fastest.endswith("; ahead of all others; not ranked, being disturbed: x=c")
    assert list(standings) == ["a", "b", "d", "c"]
    best, worse = ("best", False), ("worse", False)
    assert list(standings.values()) == [best, worse, worse, (None, True)]
    assert {name for name, text in time_cells(comparison).items() if "!" in text} == {"c", "d"}


def test_a_first_epoch_that_was_disturbed_marks_the_times_that_hold_it(tmp_path: Path) -> None:
    """The steady time, by which settings rank, has none of it."""
    for name in "ab":
        record = make_run(tmp_path, f"x={name}", epoch_s=2.0 + (name == "b"), lost_s=0.0)
        if name == "a":
            record.epochs[0].interference = shared_epoch(42.0, 31.0)
            record.epochs[0].time["epoch_s"] = 42.0
            record.write(tmp_path / f"x={name}")
    comparison = Comparison([tmp_path])
    assert comparison.sentences[0].startswith("fastest: x=a, 2.00 s (")
    row = setting_table(comparison).rows[0]
    assert [cell.text for cell in row[:4]] == ["a", "1", "2.00", "15.33!"]
    told = "run x=a: the process waited up to 31 s of 46 s for a core that other programs had"
    assert comparison.disturbances == [told]


def test_a_gpu_that_was_slowed_may_have_lost_anything(tmp_path: Path) -> None:
    """No record tells how much: it is behind nobody, and its run is told by the reason."""
    gpu = {"name": "GPU 0", "power_w": 300.0, "disturbed_by": ["GPU 0 ran slower for heat"]}
    for name in "ab":
        record = make_run(tmp_path, f"x={name}", epoch_s=2.0 + 7 * (name == "b"), lost_s=0.0)
        if name == "b":
            for epoch in record.epochs:
                epoch.interference = shared_epoch(9.0, 0.0, gpus=[gpu])
            record.write(tmp_path / "x=b")
    comparison = Comparison([tmp_path])
    assert "but x=b lost an unknown part of 9.00 s an epoch to others" in comparison.sentences[0]
    assert comparison.disturbances == ["run x=b: GPU 0 ran slower for heat"]


def test_who_had_company_is_told(tmp_path: Path) -> None:
    """Each run, by its launcher or its times; that alone disturbs none, nor where nobody looked."""
    gpus = MACHINE | {"jobs_at_once": 2, "device": "cuda:0"}
    for name in "ab":  # all begin at the same time
        make_run(tmp_path, name, environment=gpus, lost_s=0.0)
    for name in "cd":
        make_run(tmp_path, name, lost_s=0.0)
    make_run(tmp_path, "e", environment=MACHINE | {"host": "another"})
    comparison = Comparison([tmp_path])
    assert comparison.company == [
        "2 runs of a sweep of 2 jobs at once, each on a GPU of its own",
        "2 runs at the same time as another one on the machine: c, d",
    ]
    assert comparison.disturbances == []
    write_report(comparison, tmp_path, "t")
    with (tmp_path / "runs.csv").open() as file:
        marks = {row["directory"][-1]: row["shared_machine"] for row in csv.DictReader(file)}
    assert marks == dict.fromkeys("abcd", "True") | {"e": "False"}
    for form in ("html", "md"):
        page = (tmp_path / f"report.{form}").read_text()
        assert "Runs that shared their machine" in page
        assert "Times that were disturbed" not in page


def test_of_many_disturbed_runs_the_worst_are_told(tmp_path: Path) -> None:
    """And how many more there are."""
    for number in range(8):
        make_run(tmp_path, f"x={number}", epoch_s=10.0, lost_s=1.0 + number)
    *worst, last = Comparison([tmp_path]).disturbances
    assert [line.partition(":")[0] for line in worst] == [f"run x={n}" for n in range(7, 2, -1)]
    assert last == "3 more runs, marked ! in the table"


def test_every_form_of_the_report_tells_it(tmp_path: Path, capsys: Any) -> None:
    """Terminal, page and Markdown: the run in words, the mark, and what it means."""
    make_run(tmp_path, "x=a", epoch_s=2.0, lost_s=0.0)
    make_run(tmp_path, "x=b", epoch_s=4.0, lost_s=2.5)
    make_report([tmp_path], tmp_path)
    words = "run x=b: the process waited up to 7.5 s of 13.0 s for a core that other programs had"
    page, markdown = ((tmp_path / f"report.{form}").read_text() for form in ("html", "md"))
    assert f"times disturbed: {words}" in " ".join(capsys.readouterr().out.split())
    assert f"<p>{words}</p>" in page
    assert f"- {words}" in markdown
    for text in (page, markdown):
        assert text.count("4.33!") == 2  # in the tables of settings and of runs
        assert "! disturbed by others." in text
        assert "A time is disturbed (!) where " in text
        assert "took 5 % of it or more" in text
        assert "disturbed by others: x=b" in text  # under the pictures


def test_the_figures_of_interference_are_in_the_csv_files(tmp_path: Path) -> None:
    """Of each epoch, and their means for each run; what nobody knows is empty."""
    record = make_run(tmp_path, "x=a", epochs=3, lost_s=0.5)
    gpu = {"name": "GPU 0", "power_w": 300.0, "disturbed_by": []}
    record.epochs[2].interference = shared_epoch(2.0, 1.1, gpus=[gpu, gpu], own_s=None)
    record.write(tmp_path / "x=a")
    make_run(tmp_path, "x=b")
    untold = (
        shared_epoch(2.0, 0.0)
        | {"lost_s": {}}
        | dict.fromkeys(("main_waited_s", "own_s", "others_cpu_s", "pressure_s", "load"))
    )
    record.epochs[0].interference = untold
    record.write(tmp_path / "x=a")
    write_report(Comparison([tmp_path]), tmp_path, "t")
    with (tmp_path / "runs.csv").open() as runs, (tmp_path / "epochs.csv").open() as epochs:
        rows, each = list(csv.DictReader(runs)), list(csv.DictReader(epochs))
    names = ("lost_s", "own_s", "main_waited_s", "others_cpu_s", "pressure_s", "load", "power_w")
    assert [[row[name] for name in names] for row in (*rows, *each[:4])] == [
        ["0.8", "0.0", "0.8", "0.8", "0.8", "2.5", "600.0"],
        ["", "", "", "", "", "", ""],
        ["", "", "", "", "", "", ""],
        ["0.5", "0.0", "0.5", "0.5", "0.5", "2.5", ""],
        ["1.1", "", "1.1", "1.1", "1.1", "2.5", "600.0"],
        ["", "", "", "", "", "", ""],
    ]


def panels(folder: Path) -> list[str]:
    """The titles of the panels of what the epochs had to share; none without the picture."""
    drawn = {picture.name: picture for picture in draw(Comparison([folder]))}
    if "interference" not in drawn:
        return []
    return [axes.get_ylabel() for axes in drawn["interference"].figure.axes if axes.axison]


def test_what_epochs_had_to_share_is_drawn_where_a_record_tells_it(tmp_path: Path) -> None:
    """A panel for each figure that is known, beside the time; no picture without any."""
    make_run(tmp_path, "x=old")
    assert panels(tmp_path) == []
    record = make_run(tmp_path, "x=new", lost_s=0.5)
    known = ["time of an epoch (s)", "lost to others at most (s)", "CPU pressure", "load"]
    assert panels(tmp_path) == known
    gpu = {"name": "GPU 0", "power_w": 300.0, "disturbed_by": []}
    record.epochs[0].interference = shared_epoch(2.0, 0.0, gpus=[gpu])
    record.write(tmp_path / "x=new")
    assert panels(tmp_path) == [*known, "power of the GPUs (W)"]
    for epoch in record.epochs:
        nothing = {"main_waited_s": None, "lost_s": {}, "pressure_s": None, "load": None}
        epoch.interference = shared_epoch(2.0, 0.0) | nothing
    record.write(tmp_path / "x=new")
    assert panels(tmp_path) == []


def test_of_many_runs_those_that_lost_most_are_drawn(tmp_path: Path) -> None:
    """Ten of them, as the caption says."""
    for number in range(12):
        make_run(tmp_path, f"x={number}", epoch_s=9.0, lost_s=float(number % 7))
    (picture,) = (p for p in draw(Comparison([tmp_path])) if p.name == "interference")
    assert picture.caption.endswith("; the 10 of 12 runs that lost most are shown")
    names = {text.get_text() for text in picture.figure.legends[0].get_texts()}
    assert names == {f"x={number}" for number in range(12)} - {"x=0", "x=7"}


@pytest.mark.parametrize(("lost_s", "note"), [(0.0, "4.5 times as fast as cpu"), (8.0, "")])
def test_no_picture_says_how_many_times_as_fast_where_others_may_have_made_it_so(
    tmp_path: Path, lost_s: float, note: str
) -> None:
    """Its bars show what was measured."""
    make_run(tmp_path, "device=cpu", epoch_s=9.0, lost_s=lost_s)
    make_run(tmp_path, "device=mps", epoch_s=2.0, lost_s=0.0)
    (picture,) = (p for p in draw(Comparison([tmp_path])) if p.name == "by_device")
    texts = [text.get_text() for text in picture.figure.axes[0].texts]
    assert [text.partition(", ")[2] for text in texts if text.startswith("2.00 s")] == [note]


def test_a_span_reaches_down_to_what_others_may_have_taken() -> None:
    """With a tenth of the time more where it was disturbed, and not below nothing."""
    assert Span("a", 10.0, 0.3, False).lowest_s == pytest.approx(9.7)
    assert Span("a", 10.0, 3.0, True).lowest_s == pytest.approx(6.0)
    assert Span("a", 10.0, 9.5, True).lowest_s == 0.0
    assert Span("a", 10.0, None, True).lowest_s == 0.0
    assert Span("b", 5.9, 3.0, True).is_below(Span("a", 10.0, 3.0, True))
    assert not Span("b", 6.0, 0.0, False).is_below(Span("a", 10.0, 3.0, True))


def test_an_epoch_that_was_cut_short_counts_for_no_time(tmp_path: Path) -> None:
    """Nor does what it lost."""
    record: RunRecord = make_run(tmp_path, "x=a", lost_s=0.0)
    record.epochs[2].partial = True
    record.epochs[2].interference = shared_epoch(2.0, 2.0)
    record.write(tmp_path / "x=a")
    ((run,), _) = collect([tmp_path])
    assert [seen.lost for seen in run.seen_from()] == [0.0, 0.0]
    assert len(run.seen_from(1)) == 1
    assert Comparison([tmp_path]).disturbances == []
