"""The report on one run: its page, its pictures, what the terminal shows."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import EVIL, read
from helpers.records import MACHINE, make_run, shared_epoch

from hpml.records.phases import PHASES, TIMES
from hpml.records.run_record import RunRecord
from hpml.report.comparison import Comparison
from hpml.report.make import make_report
from hpml.report.run.facts import only_run
from hpml.report.run.pictures import draw_run
from hpml.report.run.tables import epoch_table, part_table, run_table
from hpml.report.run.terminal import show_run

VERDICT = {
    "kind": "input-bound",
    "basis": "shares",
    "evidence": "waiting for data 82%",
    "advice": "Try more workers",
}
WINDOWS = {phase.key: [0.2] * 4 for phase in PHASES} | {"steps": [50] * 4, "samples": [400] * 4}


def fill(record: RunRecord, steps: bool = True) -> RunRecord:
    """Gives a record what the timers leave in it."""
    record.verdict, record.windows = VERDICT, copy.deepcopy(WINDOWS)
    record.startup_s, record.finish_s, record.wall_s = 0.5, 0.25, 20.0
    for epoch in record.epochs:
        if steps:
            epoch.step_ms = {"p50": 10.0, "p95": 12.0, "p99": 30.0, "max": 80.0}
            epoch.step_counts = {"10": 8, "30": 1, "80": 1}
        epoch.train_split = {"forward_s": 0.4, "backward_s": 0.9}
        epoch.other_split = {"save_checkpoint": 0.1}
        epoch.peak_memory_mib = 800.0
    return record


@pytest.fixture
def report(tmp_path: Path, capsys: Any, monkeypatch: Any) -> Callable[..., tuple[str, Path]]:
    """Makes a report on one run, changed before by a test; what was printed, and its folder."""
    monkeypatch.setenv("COLUMNS", "200")

    def report(change: Callable[[RunRecord], Any] = fill, **fields: Any) -> tuple[str, Path]:
        record = make_run(tmp_path, "run", **fields)
        change(record)
        record.write(tmp_path / "run")
        assert make_report([tmp_path / "run"], tmp_path / "out") == 1
        return capsys.readouterr().out, tmp_path / "out"

    return report


def names(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.svg")}


def test_one_run_has_a_page_of_its_own(report: Any) -> None:
    """Its verdict first, then pictures, epochs, their parts, and what ran; as Markdown too."""
    printed, folder = report()
    page = read(folder)
    sections = ("findings", "phases", "epochs", "parts", "facts", "method")
    assert [name for name in page.ids if name in sections] == list(sections)
    assert names(folder) == {"phases", "steps", "windows", "memory", "learning"}
    assert "likely input-bound: waiting for data 82%" in page.text
    assert "How long 30 steps took" in page.text
    assert "The run took 20.00 s: start-up 0.500 s, 3 epochs 7.00 s, after the last" in page.text
    assert "around the fit 12.25 s" in page.text
    assert all(target.startswith("#") for target in page.fetched)
    markdown = (folder / "report.md").read_text()
    assert "**likely input-bound: waiting for data 82%**" in markdown
    assert "](windows.png)" in markdown
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "2"]
    assert "  Try more workers" in lines
    assert lines[-1].startswith(f"report: {folder / 'report.html'} (the runs fill ")


NOTE = "limit_train_batches=3: workers also load up to 4 unused batches an epoch"


@pytest.mark.parametrize(("note", "is_shown"), [(NOTE, True), ([NOTE], False)])
def test_what_the_times_hold_besides(report: Any, note: Any, is_shown: bool) -> None:
    """A verdict's note stands on the page and in the terminal; what is no text is passed over."""

    def change(record: RunRecord) -> None:
        fill(record).verdict = VERDICT | {"note": note}

    printed, folder = report(change)
    assert (NOTE in printed.splitlines()) == is_shown
    assert (NOTE in read(folder).text) == is_shown


def test_the_tables_say_what_the_record_says(tmp_path: Path) -> None:
    """Times that add up as they are shown, steps, memory, metrics; the parts by their length."""
    make_run(tmp_path, "run", choices={"model": "small"})
    fill(RunRecord.read(tmp_path / "run")).write(tmp_path / "run")
    run = only_run(Comparison([tmp_path]), [tmp_path])
    table = epoch_table(run)
    assert len({len(row) for row in [table.headings, *table.rows]}) == 1
    for row in table.rows:
        whole, *parts = (float(cell.text) for cell in row[1 : 1 + len(TIMES)])
        assert sum(parts) == pytest.approx(whole)
    row = dict(zip(table.headings, table.rows[0], strict=True))
    assert [row[name].text for name in ("step ms p50", "longest", "memory MiB")] == [
        *("10", "80"),
        "800",
    ]
    shown = [[cell.text for cell in row[:3]] for row in part_table(run).rows]
    assert shown == [
        ["backward", "training", "0.9000"],
        ["forward", "training", "0.4000"],
        ["save_checkpoint", "other", "0.1000"],
    ]
    facts = {row[0].text: row[1].text for row in run_table(run).rows}
    assert (facts["status"], facts["processor"]) == ("completed", "CPU")


def test_several_runs_are_compared(tmp_path: Path) -> None:
    """And so is what was only evaluated."""
    for name in ("a", "b"):
        make_run(tmp_path / "two", name)
    make_run(tmp_path / "one", "a", evaluation={"checkpoint": "last.ckpt", "metrics": {}})
    for folder in ("two", "one"):
        comparison = Comparison([tmp_path / folder])
        assert only_run(comparison, [tmp_path / folder]) is None


def test_a_run_is_found_by_its_file_or_below_a_folder(tmp_path: Path) -> None:
    """With all that its record has, beside a broken one, which is left out."""
    make_run(tmp_path, "run")
    fill(RunRecord.read(tmp_path / "run")).write(tmp_path / "run")
    file = tmp_path / "run" / "record.json"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "record.json").write_text("{")
    for paths in ([file], [tmp_path / "run"], [tmp_path]):
        run = only_run(Comparison(paths), paths)
        assert run.record.epochs[0].step_ms["max"] == 80.0


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("failed", {"type": "RuntimeError", "message": EVIL, "log_end": "the end"}, "RuntimeError"),
        ("interrupted", {"type": "Interrupted", "message": "SIGINT"}, "interrupted: "),
        ("running", None, "still at work, or killed outright"),
    ],
)
def test_what_has_not_completed_is_marked(
    status: str, error: dict[str, str] | None, said: str, report: Any
) -> None:
    """Above all else, with its cause and the end of its log; its last epoch has an asterisk."""

    def cut_short(record: RunRecord) -> None:
        fill(record)
        record.epochs[-1].partial = True

    printed, folder = report(cut_short, status=status, error=error)
    page = read(folder)
    sections = [name for name in page.ids if name in ("failures", "findings", "phases")]
    assert sections == ["failures", "findings", "phases"]
    assert said in page.text
    assert ("the end" in page.text) == bool(error and "log_end" in error)
    assert "2*" in page.text
    assert "* cut short, or resumed" in page.text
    assert printed.startswith(f"{status}: run")
    assert page.tags.count("script") == 1  # ours
    assert ("so far likely input-bound" in page.text) == (status == "running")


def test_a_resumed_run_says_where(report: Any) -> None:
    """After how many batches, and when; its windows have no borders of epochs, being two parts."""

    def resume(record: RunRecord) -> None:
        fill(record)
        record.resumed = [{"at": "2026-01-01T00:00:00+00:00", "batches": 1234, "lost_s": 1.0}]
        record.epochs[1].resumed = True

    printed, folder = report(resume)
    assert "resumed after 1,234 batches, at 2026-01-01T00:00:00+00:00" in printed
    page = read(folder)
    assert "1*" in page.text
    assert "an epoch ends" not in page.text


def test_disturbed_epochs_are_marked(report: Any) -> None:
    """In the table, above their bars and in words, with the picture of what they had to share."""
    printed, folder = report(epoch_s=2.0, lost_s=1.0)
    page = read(folder)
    assert "disturbances" in page.ids
    assert "3 of 3 epochs were disturbed." in page.text
    assert "interference" in names(folder)
    assert "   0! " in printed
    assert "! disturbed by others" in page.text


def test_what_disturbed_a_run_is_told_once(report: Any) -> None:
    """Where its verdict says it, no line besides does, in no form of the report."""
    evidence = "the process waited up to 3.0 s of 6.0 s for a core that other programs had"

    def judge(record: RunRecord) -> None:
        record.verdict = {"kind": "disturbed", "evidence": evidence, "advice": "wait"}

    printed, folder = report(judge, epoch_s=2.0, lost_s=1.0)
    for text in (printed, read(folder).text, (folder / "report.md").read_text()):
        assert text.count("for a core that other programs had") == 1


@pytest.mark.parametrize("epochs", [0, 1])
def test_few_epochs(epochs: int, report: Any) -> None:
    """None, or one without steps, windows and memory: what there is is shown."""
    printed, folder = report(lambda record: record, epochs=epochs)
    assert ("phases" in names(folder)) == bool(epochs)
    assert not names(folder) & {"steps", "windows", "memory"}
    assert "There is no verdict" in read(folder).text
    assert "report: " in printed


def test_what_was_not_measured_is_a_part_of_its_own(report: Any) -> None:
    """Where Lightning tells some phases alone, the rest of the epoch is not told apart."""

    def unmeasured(record: RunRecord) -> None:
        for epoch in record.epochs:
            epoch.time |= {"data_s": None, "other_s": None}
            epoch.samples = epoch.samples_per_s = None

    _, folder = report(unmeasured)
    assert "not told apart" in (folder / "phases.svg").read_text()
    assert "–" in read(folder).text


def test_a_gpu_has_its_own_clock_in_the_picture(report: Any) -> None:
    """Beside the host's, where the record has it."""

    def on_gpu(record: RunRecord) -> None:
        fill(record)
        for epoch in record.epochs:
            kinds = [phase.device_kind for phase in PHASES if phase.device_kind]
            epoch.device_time = {f"{kind}_s": 0.4 for kind in kinds}

    _, folder = report(on_gpu, environment=MACHINE | {"device": "cuda", "accelerators": ["H"]})
    assert "by the GPU's own clock" in (folder / "phases.svg").read_text()
    assert "allocated on the GPU" in read(folder).text


def test_many_epochs_make_no_endless_picture(report: Any) -> None:
    """Bars are means of epochs side by side; the terminal has the first and the last rows."""
    printed, folder = report(epochs=150)
    assert "means of 3 epochs side by side, of 150" in read(folder).text
    rows = [line for line in printed.splitlines() if line[:6].strip().isdigit()]
    assert (len(rows), rows[-1].split()[0]) == (40, "149")
    assert "    …  110 more" in printed


def test_a_trace_beside_the_record_is_linked(tmp_path: Path) -> None:
    """As seen from the page, wherever that lies."""
    make_run(tmp_path, "a run")
    make_report([tmp_path / "a run"], tmp_path / "out")
    assert "trace.json" not in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "a run" / "trace.json").write_text("{}")
    make_report([tmp_path / "a run"], tmp_path / "out")
    assert 'href="../a%20run/trace.json"' in (tmp_path / "out" / "report.html").read_text()


NOW: list[Any] = [None, 1e99, EVIL, {EVIL: EVIL}]
ODD = (True, -1, 1e308, 10**400, "\ud800\x1b[2J", [], {}, [None], {"1e999": 1})
LATER = [pytest.param(odd, marks=pytest.mark.stress) for odd in ODD]


@pytest.mark.slow
@pytest.mark.parametrize("value", [*NOW, *LATER], ids=lambda value: repr(value)[:20])
def test_what_only_one_runs_page_reads_may_be_anything(
    value: Any, tmp_path: Path, capsys: Any
) -> None:
    """A figure of another type is left out of tables and pictures; the record is read."""
    make_run(tmp_path, "run", epochs=1)
    file = tmp_path / "run" / "record.json"
    record = fill(RunRecord.read(file))
    record.epochs[0].interference = shared_epoch(2.0, 1.0)
    record.write(tmp_path / "run")
    whole = json.loads(file.read_text())
    of_run = ("startup_s", "finish_s", "verdict", "windows", "model", "chosen")
    of_epoch = ("step_ms", "step_counts", "train_split", "other_split", "device_time", "steps")
    of_epoch = (*of_epoch, "peak_memory_mib", "first_batch_s", "partial", "resumed")
    places = [(name,) for name in of_run]
    places += [("windows", "data_s"), ("windows", "steps"), ("verdict", "kind")]
    places += [("epochs", 0, name) for name in of_epoch]
    places += [("epochs", 0, "step_counts", "10"), ("epochs", 0, "step_ms", "p99")]
    drawn = 0
    for place in places:
        changed: Any = copy.deepcopy(whole)
        node = changed
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
        file.write_text(json.dumps(changed))
        comparison = Comparison([file])
        run = only_run(comparison, [file])
        if run is None:
            assert comparison.left_out
            continue
        show_run(run, comparison)
        for table in (epoch_table(run), part_table(run), run_table(run)):
            assert all(len(row) == len(table.headings) for row in table.rows)
        drawn += len(list(draw_run(run)))
    assert drawn > len(places)
    assert "\x1b[2J" not in capsys.readouterr().out
