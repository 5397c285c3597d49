"""What a notebook's cell shows: the record's own values, escaped, with a picture."""

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers.labs import search_result
from helpers.records import make_run

from hpml.diagnosis.wording import Diagnosis
from hpml.records.epoch_lines import shown_times
from hpml.records.run_record import RunRecord
from hpml.report.notebook_results import Report, TrainedRun
from hpml.trials.pace import Pace
from hpml.worker_counts.answer import WorkersAnswer


def cells(page: str) -> list[list[str]]:
    """The texts of a page's table, by rows."""
    rows = re.findall("<tr>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(t) for t in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", r)] for r in rows]


def test_a_run_shows_its_epochs(tmp_path: Path) -> None:
    """A row for each epoch with the record's values, a picture, and the verdict."""
    record = make_run(tmp_path, "a", epochs=2, accuracy=0.5)
    record.config["run_dir"] = "<b>here"
    record.verdict = {"kind": "input-bound", "basis": "shares", "evidence": "x < y", "advice": "z"}
    page = TrainedRun(**vars(record))._repr_html_()
    heading, *rows = cells(page)
    assert len(rows) == 2
    for epoch, row in zip(record.epochs, rows, strict=True):
        assert row[:7] == [str(epoch.epoch), *shown_times(epoch.time)]
        accuracy = epoch.metrics["val/accuracy"]
        assert row[heading.index("val/accuracy")] == f"{accuracy:.2%}"
    assert "likely input-bound: x &lt; y" in page
    assert "&lt;b&gt;here" in page
    assert "<b>here" not in page
    assert page.count("<svg") == 1


def test_a_report_shows_its_settings(tmp_path: Path) -> None:
    """The page's table and sentences; pictures of two cells share no name."""
    for name in ("sgd", "adam"):
        make_run(tmp_path, name, choices={"optimizer": name}, overrides=[f"optimizer={name}"])
    report = Report([tmp_path], tmp_path)
    first, second = report._repr_html_(), report._repr_html_()
    assert len(cells(first)) == 1 + len(report.comparison.settings)
    for sentence in report.sentences:
        assert html.escape(sentence, quote=False) in first.replace("&#39;", "'")
    names = [set(re.findall(r'\bid="([^"]+)"', page)) for page in (first, second)]
    assert names[0]
    assert names[0].isdisjoint(names[1])


def test_a_diagnosis_shows_the_table_that_it_prints() -> None:
    """Its rows, its verdict, and a bar for each trial."""
    slow, fast = [Pace(0.1, 0.09, None)] * 3, [Pace(0.01, 0.0, None)] * 3
    paces = {"as_it_is": slow, "as_it_is_again": slow, "loading_free": fast}
    paces |= {"compute_free": slow, "loop_alone": fast, "loader_alone": slow}
    diagnosis = Diagnosis(paces=paces, epoch_steps=10, trial_steps=5)
    page = diagnosis._repr_html_()
    rows = [tuple(text or "–" for text in row) for row in diagnosis.rows]
    assert [tuple(row) for row in cells(page)[1:]] == rows
    assert html.escape(diagnosis.verdict["evidence"]) in page
    assert repr(diagnosis) == str(diagnosis) == "\n".join(diagnosis.lines)


def test_workers_show_each_count() -> None:
    """A row for each number of workers, the fastest marked, and the answer."""
    found: dict[str, Any] = search_result({0: 2.0, 1: 1.0, 2: 1.5})
    answer = WorkersAnswer(Path("there"), found)
    page = answer._repr_html_()
    assert [row[0] for row in cells(page)[1:]] == ["0", "1", "2"]
    assert [row[2].endswith("*") for row in cells(page)[1:]] == [False, True, False]
    assert "use: data.num_workers=1" in page


def test_a_record_is_short_in_text(tmp_path: Path) -> None:
    """`repr` says how it ended, not all that it holds."""
    assert repr(make_run(tmp_path, "a")).startswith("<RunRecord: completed, 3 epochs")
    assert RunRecord.read(tmp_path / "a" / "record.json").epochs


def test_the_functions_are_light_until_they_are_used() -> None:
    """To import them imports neither torch nor matplotlib."""
    code = "import hpml.api, sys; sys.exit(bool({'torch', 'matplotlib'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
