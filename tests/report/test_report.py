"""The files of a report, as others read them."""

import csv
import io
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import EVIL, FINE, Page, dots_per_inch, read
from helpers.programs import run_program
from helpers.records import make_run
from matplotlib.figure import Figure
from PIL import Image

from hpml.records.phases import TIMES
from hpml.report.__main__ import main
from hpml.report.collect import collect
from hpml.report.comparison import Comparison
from hpml.report.make import write_report
from hpml.report.picture_style import legend_above
from hpml.report.pictures import accuracy_to_reach, time_to_reach
from hpml.report.settings import find_settings


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two numbers of workers, two devices, two seeds; one job has failed."""
    folder = tmp_path_factory.mktemp("report")
    error = {"type": "SIGKILL", "message": EVIL, "log_end": EVIL}
    for device, workers, seed in itertools.product(("cpu", "cuda"), (0, 2), (0, 1)):
        make_run(
            folder / "sweep",
            f"device={device},data.num_workers={workers},seed={seed}",
            epoch_s=(8.0 if device == "cpu" else 1.0) + seed / 10,
            accuracy=0.6 + seed / 50,
            status="failed" if (device, workers, seed) == ("cpu", 0, 1) else "completed",
            error=error,
        )
    with dots_per_inch(FINE):
        write_report(Comparison([folder / "sweep"]), folder / "report", f"Title {EVIL}")
    return folder / "report"


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return read(report)


def report_on(folder: Path) -> Path:
    """Writes a report on the sweep in a folder into that folder."""
    write_report(Comparison([folder / "sweep"]), folder, "t")
    return folder


def test_every_picture_is_in_three_forms(report: Path, page: Page) -> None:
    """As PNG for a document, as SVG, and in the page itself; no two ids of the page are alike."""
    names = {file.stem for file in report.glob("*.png")}
    assert names == {"phases", "by_device", "by_data.num_workers", "learning", "time_to_accuracy"}
    assert page.tags.count("svg") == len(names)
    assert names <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    for name in names:
        with Image.open(report / f"{name}.png") as image:
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
            assert image.convert("L").getextrema()[0] < 100  # something is drawn
        assert ET.parse(report / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_page_is_safe_and_alone(report: Path, page: Page) -> None:
    """It fetches no file, font or script of anybody's, and shows the texts of records as text."""
    assert all(target.startswith("#") for target in page.fetched)
    assert page.tags.count("script") == 1  # ours
    assert page.text.count(EVIL) >= 4  # title, heading, cause, end of the log
    markdown = (report / "report.md").read_text()
    assert "<script>" not in markdown.replace("\\<script\\>", "")


def test_what_failed_stands_above_all_else(page: Page) -> None:
    """With its cause and the end of its log."""
    names = ["failures", "findings", "settings", "runs"]
    assert [name for name in page.ids if name in names] == names


def test_each_run_has_its_command_commit_host_and_log(tmp_path: Path) -> None:
    """The log's address is right wherever the page lies."""
    make_run(tmp_path / "sweep", "x=ä b", environment={"host": "node7", "git_commit": "c0ffee"})
    log = tmp_path / "sweep" / "x=ä b" / "train.log"
    log.write_text("lines")
    write_report(Comparison([tmp_path / "sweep"]), tmp_path / "else where", "t")
    text = (tmp_path / "else where" / "report.html").read_text()
    for part in ("python -m hpml.train x=ä b", "node7", "c0ffee"):
        assert part in text
    assert 'href="../sweep/x%3D%C3%A4%20b/train.log"' in text


def test_the_tables_are_there_as_csv(report: Path) -> None:
    """A row for each run and for each epoch, with what varies in columns of its own."""
    texts = [(report / name).read_text(encoding="utf-8") for name in ("runs.csv", "epochs.csv")]
    runs, epochs = (list(csv.DictReader(io.StringIO(text))) for text in texts)
    assert (len(runs), len(epochs)) == (8, 24)
    (failed,) = (row for row in runs if row["status"] == "failed")
    assert (failed["device"], failed["data.num_workers"], failed["seed"]) == ("cpu", "0", "1")
    assert failed["cause"] == EVIL
    first = epochs[0]
    phases = [float(first[name]) for name in TIMES[1:]]
    assert sum(phases) == pytest.approx(float(first["epoch_s"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: PATH; see hpml report --help"),
        (["--titel", "x", "a"], "unrecognized arguments: --titel; see hpml report --help"),
        (["nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_wrong_words_have_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], message: str
) -> None:
    """And exit code 2; no list of all options."""
    monkeypatch.setattr("sys.argv", ["report", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_resumed_run_is_marked(tmp_path: Path) -> None:
    """In the page, in Markdown and in runs.csv, which counts how often."""
    resumed = {"at": "2026-01-01T00:00:00+00:00", "batches": 5, "lost_s": 1.0}
    for name, times in (("seed=0", 0), ("seed=1", 1), ("seed=2", 3)):
        make_run(tmp_path / "sweep", name, resumed=[resumed] * times)
    folder = report_on(tmp_path)
    rows = csv.DictReader(io.StringIO((folder / "runs.csv").read_text()))
    assert {row["seed"]: row["resumed"] for row in rows} == {"0": "0", "1": "1", "2": "3"}
    statuses = ["completed", "completed, resumed", "completed, resumed 3 times"]
    markdown = (folder / "report.md").read_text()
    page = (folder / "report.html").read_text()
    for form, text in ((">{}</td>", page), ("| {} |", markdown)):
        assert [text.count(form.format(status)) for status in statuses] == [1, 1, 1], form


def test_markdown_has_the_table_and_the_pictures(report: Path) -> None:
    """Its table has as many cells in each row as in its heading."""
    text = (report / "report.md").read_text()
    blocks = [block.splitlines() for block in re.split(r"\n{2,}", text.strip())]
    tables = [block for block in blocks if block[0].startswith("|")]
    assert len(tables) == 2  # settings and runs
    for rows in tables:
        assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "](phases.png)" in text
    headings = [block for block in blocks if block[0].startswith("#")]
    assert [len(block) for block in headings] == [1] * len(headings)  # nothing sticks to them
    assert text.count("\n## ") == len(headings) - 1
    (failure,) = (line for line in text.splitlines() if ": failed: " in line)
    assert failure.startswith("- **device=cpu,data.num\\_workers=0,seed=1**")


def test_many_settings_make_no_endless_picture(tmp_path: Path) -> None:
    """The first ones are drawn, and the caption says so."""
    for workers in range(30):
        make_run(tmp_path / "sweep", f"data.num_workers={workers}")
    report_on(tmp_path)
    assert "the first 20 of 30 are shown" in (tmp_path / "report.html").read_text()
    with Image.open(tmp_path / "phases.png") as image:
        assert image.height < 2000


def test_pictures_of_keys_that_vary_no_more_go(tmp_path: Path) -> None:
    """What another report left; files of anybody else stay."""
    (tmp_path / "phases-mine.png").write_text("mine")
    for count in (3, 1):
        for workers in range(count):
            make_run(tmp_path / str(count), f"data.num_workers={workers}")
        write_report(Comparison([tmp_path / str(count)]), tmp_path, "t")
        assert (tmp_path / "by_data.num_workers.png").exists() == (count > 1)
    assert (tmp_path / "phases-mine.png").exists()


@pytest.mark.parametrize(
    ("values", "picture"),
    [("0 1e-5 1e-2", True), ("-1 1", True), ("inf nan", False), ("1 x", False)],
)
def test_a_key_is_drawn_over_its_numbers(tmp_path: Path, values: str, picture: bool) -> None:
    """However far they lie apart; what is no number has no place on the line."""
    for value in values.split():
        make_run(tmp_path / "sweep", f"optimizer.weight_decay={value}")
    report_on(tmp_path)
    assert (tmp_path / "by_optimizer.weight_decay.png").exists() == picture


def test_odd_runs_are_drawn_too(tmp_path: Path) -> None:
    """Devices without epochs or with epochs of no time; hours; scores below zero; odd names."""
    runs = {
        "device=cpu": {"epoch_s": 40_000.0},
        "device=gpu": {"epochs": 0},
        "device=mps": {"epoch_s": 0.0},
        f"device={'x' * 300}": {},
        "device=a\x1b[1mb\x00\ud800ü": {},
    }
    for number, (name, changes) in enumerate(runs.items()):
        make_run(tmp_path / "sweep", f"run{number}", **changes)
        file = tmp_path / "sweep" / f"run{number}" / "record.json"
        record = json.loads(file.read_text())
        record["overrides"] = [name]
        record["config"] |= {"device": name.partition("=")[2], "monitor": "val/score"}
        for epoch in record["epochs"]:
            epoch["metrics"]["val/score"] = -1.5
        file.write_text(json.dumps(record))
    (tmp_path / "sweep" / os.fsdecode(b"\xff")).mkdir()
    file.rename(tmp_path / "sweep" / os.fsdecode(b"\xff") / "record.json")
    report_on(tmp_path)
    assert "\x1b" not in (tmp_path / "report.html").read_text()
    assert "time of an epoch (h)" in (tmp_path / "phases.svg").read_text()


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"epochs": 0}, {"config": {}}])
def test_there_may_be_little_to_show(tmp_path: Path, changes: dict[str, object]) -> None:
    """No completed run, no epoch, or a record of another project."""
    make_run(tmp_path / "sweep", "a", **changes)
    assert "report" not in read(report_on(tmp_path)).fetched


def test_the_time_to_reach_an_accuracy_is_that_of_whole_epochs(tmp_path: Path) -> None:
    """Up to the end of the first one that reached it; never, where none did."""
    make_run(tmp_path, "a", epochs=4, epoch_s=2.0, accuracy=0.8)  # 0.2, 0.4 … after 3, 5, 7, 9 s
    (run,) = collect([tmp_path])[0]
    assert time_to_reach(run, 0.4) == pytest.approx(5.0)
    assert time_to_reach(run, 0.41) == pytest.approx(7.0)
    assert time_to_reach(run, 0.9) is None


@pytest.mark.parametrize(("accuracies", "target"), [((0.8, 0.75), 0.75), ((0.1, 0.6, 0.8), 0.6)])
def test_the_accuracy_to_reach_suits_the_runs(
    tmp_path: Path, accuracies: tuple[float, ...], target: float
) -> None:
    """What all reach where they are alike, else what half of them do."""
    for number, accuracy in enumerate(accuracies):
        make_run(tmp_path, f"optimizer.lr={number}", accuracy=accuracy)
    assert accuracy_to_reach(find_settings(collect([tmp_path])[0])) == pytest.approx(target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere: there is no such file or folder\n"),
        (["."], r"error: no readable record.json under \.\n"),
        (["a", "--output", "/dev/null/x"], "error: /dev/null.*: Not a directory\n"),
    ],
)
def test_the_program_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Exit code 2 and one line."""
    if arguments[0] == "a":
        make_run(tmp_path, "a")
    done = run_program(["-m", "hpml.report", *arguments], tmp_path, exit_code=2)
    assert re.fullmatch(message, done.stderr)


def test_the_program_writes_where_it_is_told(tmp_path: Path) -> None:
    """Into the first path, or elsewhere; with a heading of one's own; without torch."""
    make_run(tmp_path, "sweep/seed=0")
    first = run_program(["-m", "hpml.report", "sweep"], tmp_path)
    assert first.returncode == 0, first.stderr
    assert re.search(r"\nreport: sweep/report.html \(the runs fill .*\)\n$", first.stdout)
    command = ["-X", "importtime", "-m", "hpml.report", "sweep", "--output", "o", "--title", "Mine"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert "<title>Mine</title>" in (tmp_path / "o" / "report.html").read_text()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "matplotlib" in imported
    assert not imported & {"torch", "lightning", "hydra", "pandas"}


def test_a_legend_of_long_names_stays_within_its_picture() -> None:
    """Names that would be cut off at both sides lose their middle."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    names = [f"data=synthetic {'data.train_samples=1280 ' * 4}seed={seed}" for seed in range(2)]
    for name in names:
        axes.plot([0, 1], label=name)
    legend_above(figure, names)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
