"""The files of a report, as others read them."""

import csv
import html.parser
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from made import make_run
from PIL import Image

from hpml.report.collect import collect
from hpml.report.comparison import Comparison
from hpml.report.make import write_report
from hpml.report.pictures import accuracy_to_reach, time_to_reach
from hpml.report.settings import find_settings

EVIL = "<script>alert(1)</script>$x_1$&|`*"


def make_sweep(folder: Path) -> None:
    """Two numbers of workers, two devices, two seeds; one job has failed."""
    for device, epoch_s in (("cpu", 8.0), ("cuda", 1.0)):
        for workers in (0, 2):
            for seed in (0, 1):
                make_run(
                    folder,
                    f"device={device},data.num_workers={workers},seed={seed}",
                    epoch_s=epoch_s + seed / 10,
                    accuracy=0.6 + seed / 50,
                    status="failed" if (device, workers, seed) == ("cpu", 0, 1) else "completed",
                    error={"type": "SIGKILL", "message": EVIL, "log_end": EVIL},
                )


class Page(html.parser.HTMLParser):
    """Collects the tags, the ids, the texts of tables and what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "src" or (name == "href" and tag != "a"):
                self.fetched.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def read(folder: Path) -> Page:
    page = Page()
    page.feed((folder / "report.html").read_text())
    return page


@pytest.fixture
def report(tmp_path: Path) -> Path:
    make_sweep(tmp_path / "sweep")
    write_report(Comparison([tmp_path / "sweep"]), tmp_path / "report", f"Title {EVIL}")
    return tmp_path / "report"


def test_every_picture_is_in_three_forms(report: Path) -> None:
    """As PNG for a document, as SVG, and in the page itself; no two ids of the page are alike."""
    page = read(report)
    names = {file.stem for file in report.glob("*.png")}
    assert names == {"phases", "by_device", "by_data_num_workers", "learning", "time_to_accuracy"}
    assert page.tags.count("svg") == len(names)
    assert names <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    for name in names:
        with Image.open(report / f"{name}.png") as image:
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
            assert image.convert("L").getextrema()[0] < 100  # something is drawn
        assert ET.parse(report / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_page_needs_nothing_from_elsewhere(report: Path) -> None:
    """No file, no font, no script of anybody's."""
    assert all(target.startswith("#") for target in read(report).fetched)


def test_text_of_records_is_never_markup(report: Path) -> None:
    """In the page, in its pictures and in Markdown it is shown as it is."""
    page = read(report)
    assert page.tags.count("script") == 1  # ours
    assert page.text.count(EVIL) >= 4  # title, heading, cause, end of the log
    markdown = (report / "report.md").read_text()
    assert "<script>" not in markdown.replace("\\<script\\>", "")


def test_what_failed_stands_above_all_else(report: Path) -> None:
    """With its cause and the end of its log."""
    page = read(report)
    where = {name: page.ids.index(name) for name in ("failures", "findings", "settings", "runs")}
    assert sorted(where, key=lambda name: where[name]) == list(where)


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
    with (report / "runs.csv").open(encoding="utf-8", newline="") as file:
        runs = list(csv.DictReader(file))
    with (report / "epochs.csv").open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    assert len(runs) == 8
    assert len(epochs) == 24
    (failed,) = (row for row in runs if row["status"] == "failed")
    assert (failed["device"], failed["data.num_workers"], failed["seed"]) == ("cpu", "0", "1")
    assert failed["cause"] == EVIL
    first = epochs[0]
    phases = [float(first[name]) for name in first if name.endswith("_s") and name != "epoch_s"]
    assert sum(phases[:5]) == pytest.approx(float(first["epoch_s"]))


def test_markdown_has_the_table_and_the_pictures(report: Path) -> None:
    """Its table has as many cells in each row as in its heading."""
    text = (report / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "](phases.png)" in text


def test_many_settings_make_no_endless_picture(tmp_path: Path) -> None:
    """The first ones are drawn, and the caption says so."""
    for workers in range(30):
        make_run(tmp_path / "sweep", f"data.num_workers={workers}")
    write_report(Comparison([tmp_path / "sweep"]), tmp_path, "t")
    assert "the first 20 of 30 are shown" in (tmp_path / "report.html").read_text()
    with Image.open(tmp_path / "phases.png") as image:
        assert image.height < 2000


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"epochs": 0}, {"config": {}}])
def test_there_may_be_little_to_show(tmp_path: Path, changes: dict[str, object]) -> None:
    """No completed run, no epoch, or a record of another project."""
    make_run(tmp_path / "sweep", "a", **changes)
    write_report(Comparison([tmp_path / "sweep"]), tmp_path, "t")
    assert "report" not in read(tmp_path).fetched


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


def program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpml.report", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere: there is no such file or folder\n"),
        (["."], "error: no record.json under .\n"),
        (["a", "--output", "/dev/null/x"], "error: /dev/null/x: .*; give --output DIR\n"),
    ],
)
def test_the_program_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Exit code 2 and one line."""
    if arguments[0] == "a":
        make_run(tmp_path, "a")
    done = program(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(message, done.stderr)


def test_the_program_writes_where_it_is_told(tmp_path: Path) -> None:
    """Into the first path, or elsewhere; with a heading of one's own; without torch."""
    make_run(tmp_path, "sweep/seed=0")
    first = program("sweep", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith("report: sweep/report.html\n")
    command = ["-X", "importtime", "-m", "hpml.report", "sweep", "--output", "o", "--title", "Mine"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert "<title>Mine</title>" in (tmp_path / "o" / "report.html").read_text()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "matplotlib" in imported
    assert not imported & {"torch", "lightning", "hydra", "pandas"}
