"""What version 0.1.0 left behind in its first layout is read, or refused in a line.

`outputs_of_0.1.0.tar.xz` holds a completed run and its evaluation, an interrupted run, a sweep of
four jobs, and a sweep that was cut short in the second of its two jobs.
"""

import re
import tarfile
from pathlib import Path

import pytest
from helpers.configurations import TESTS
from helpers.programs import run_program

from hpml.records.run_record import RunRecord, read_records

TRAIN = ("-m", "hpml.train")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the `outputs` of before."""
    with tarfile.open(TESTS / "outputs_of_0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.mark.slow
def test_a_checkpoint_is_evaluated(folder: Path) -> None:
    """With the networks and data that it names by their earlier names, to the same figures.

    Another processor rounds the loss otherwise.
    """
    path = "outputs/completed/checkpoints/last.ckpt"
    words = (f"evaluate={path}", "device=cpu", "hydra.run.dir=again")
    run_program([*TRAIN, *words], folder)
    before, now = (RunRecord.read(folder / name) for name in ("outputs/evaluated", "again"))
    assert before.evaluation is not None
    assert now.evaluation is not None
    figures, figures_then = (each.pop("metrics") for each in (now.evaluation, before.evaluation))
    assert figures == pytest.approx(figures_then, rel=1e-6)
    assert now.evaluation == before.evaluation


def test_records_are_reported(folder: Path) -> None:
    """All of them, with their settings and how they ended."""
    done = run_program(["-m", "hpml.report", "outputs", "--output", "page"], folder)
    assert "interrupted: sweeps/cut/seed=1: Interrupted: SIGTERM" in done.stdout
    page = (folder / "page" / "report.html").read_text(encoding="utf-8")
    for word in ("32.81%", "optimizer=adam", "test/accuracy 0.3281"):
        assert word in page


def test_an_interrupted_run_is_not_mixed_with_other_code(folder: Path) -> None:
    """One line says what to do; as it says, the run begins at its start."""
    run = folder / "outputs" / "interrupted"
    typed = [*TRAIN, *RunRecord.read(run).overrides, "hydra.run.dir=outputs/interrupted"]
    for word, why in (
        ("resume=null", "holds an unfinished run: resume=auto resumes it, resume=never begins .*"),
        ("resume=auto", "was made with .*another code.*; resume=never begins at the start, .*"),
        ("resume=outputs/interrupted", "was made with .*another code.*; it cannot resume exactly"),
    ):
        done = run_program([*typed, word], folder, exit_code=2)
        assert re.fullmatch(f"error: .*{why}\n", done.stderr), done.stderr
    done = run_program([*typed, "resume=never"], folder)
    record = RunRecord.read(run)
    assert (record.status, record.resumed) == ("completed", [])


def test_a_sweep_asks_what_to_do_with_its_jobs(folder: Path) -> None:
    """Whether to keep them; those that are kept have the configurations of today's jobs."""
    grid = folder / "outputs" / "sweeps" / "grid"
    before = {path.name: path.read_bytes() for path in grid.glob("*/record.json")}
    shared = RunRecord.read(next(grid.glob("*/record.json"))).overrides
    own = [word for word in shared if not word.startswith(("optimizer=", "seed="))]
    typed = [*TRAIN, "-m", *own, "optimizer=sgd,adam", "seed=0,1", "sweep.name=grid"]
    done = run_program(typed, folder, exit_code=2)
    told = "4 of 4 completed jobs ran other code than there is now: give sweep.on_code_change=keep"
    assert re.fullmatch(f"error: {told} to keep them, .*\n", done.stderr)
    done = run_program([*typed, "sweep.on_code_change=keep"], folder)
    assert "4 jobs, 4 of them complete" in done.stdout
    assert {path.name: path.read_bytes() for path in grid.glob("*/record.json")} == before


@pytest.mark.slow
def test_a_sweep_that_was_cut_short_is_completed(folder: Path) -> None:
    """The completed job is kept; the interrupted one begins at its start, with a warning."""
    cut = folder / "outputs" / "sweeps" / "cut"
    before = (cut / "seed=0" / "record.json").read_bytes()
    own = [word for word in RunRecord.read(cut / "seed=0").overrides if word != "seed=0"]
    words = [*own, "seed=0,1", "sweep.name=cut", "sweep.on_code_change=keep"]
    done = run_program([*TRAIN, "-m", *words], folder)
    assert re.search("warning: .*another code.*; the run begins at its start", done.stdout)
    assert (cut / "seed=0" / "record.json").read_bytes() == before
    records = [record for _, record in read_records([cut])]
    assert [getattr(record, "status", record) for record in records] == ["completed"] * 2
