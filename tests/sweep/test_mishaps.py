"""However a job dies, its record says so, the others run, and nothing of it is left."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.configurations import TESTS, stress
from helpers.programs import run_on_terminal, run_program
from helpers.sweeps import (
    PROGRAM,
    QUICK,
    SWEEP,
    contents,
    is_gone,
    processes_of,
    records,
    start,
    statuses,
    sweep,
)

CAUSES = {
    "exception": ("failed", "ValueError: it broke", "ValueError: it broke"),
    "exit": ("failed", "SystemExit: 3", ""),
    "exit_0": ("failed", "SystemExit: ended before it was complete", ""),
    "kill": ("failed", "killed by SIGKILL", ""),
    "segfault": ("failed", "segmentation fault (SIGSEGV)", "Fatal Python error: Segmentation"),
    "memory": ("failed", "out of memory on the host; ", "failed: out of memory on the host; "),
    "hang": ("failed", "took longer than sweep.timeout_s=4", "in hang"),
    "daemon": ("completed", "", ""),
}


MIDDLE_OF_FIVE = [stress(["none", "none", kind, "none", "none"]) for kind in CAUSES]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [["none", *CAUSES], *MIDDLE_OF_FIVE], ids=" ".join)
def test_each_kind_of_death_is_survived(tmp_path: Path, kinds: list[str]) -> None:
    """It is reported everywhere, the others complete, and what a job leaves behind is ended."""
    jobs = ",".join(f"{{fault: {kind}, at: {place}}}" for place, kind in enumerate(kinds))
    done = sweep(tmp_path, f"+planted={jobs}", "sweep.timeout_s=4", exit_code=None)
    found = records(tmp_path)
    assert len(found) == len(kinds)
    page = (tmp_path / SWEEP / "report.html").read_text()
    failed = []
    for name, record in found.items():
        kind = record.config["planted"]["fault"]
        status, cause, line = CAUSES.get(kind, ("completed", "", ""))
        assert record.status == status
        assert record.cause.startswith(cause) if kind == "memory" else record.cause == cause
        assert len(record.epochs) == (1 if status == "failed" else 2)
        if status == "failed":
            failed.append(name)
            log_end = (record.error or {})["log_end"]
            assert line in log_end
            assert f"epoch 0 of {name}" in log_end
            assert f"failed: {name}: {cause}" in done.stderr
            assert f"<strong>{name}</strong>: failed" in page
    assert len(failed) == len(set(kinds) - {"none", "daemon"})
    assert done.returncode == bool(failed)
    if failed:
        *_, last = done.stderr.splitlines()
        assert last.startswith(f"failed: {len(failed)} job")
        assert all(name in last for name in failed)
    assert not processes_of(tmp_path)


def test_the_first_failure_may_end_the_sweep(tmp_path: Path) -> None:
    """With `sweep.fail_fast=true`; the report is made nevertheless."""
    jobs = ("+fault=none,exception,daemon", "sweep.fail_fast=true")
    done = sweep(tmp_path, *jobs, exit_code=1)
    assert statuses(tmp_path) == {"+fault=none": "completed", "+fault=exception": "failed"}
    assert "1 job not started" in done.stderr
    assert "failed: 1 job: " in done.stderr
    assert (tmp_path / SWEEP / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), stress(signal.SIGTERM, 143), stress(signal.SIGHUP, 129)],
)
def test_a_signal_ends_the_sweep_in_order(tmp_path: Path, number: int, code: int) -> None:
    """The running job is interrupted, no other starts; the command that is printed resumes."""
    process = start(tmp_path, "seed=0,1,2", "+nap=0.3")
    process.wait_for(lambda: len(records(tmp_path)) == 2 and records(tmp_path)["seed=1"].epochs)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert statuses(tmp_path) == {"seed=0": "completed", "seed=1": "interrupted"}
    assert "report: outputs/sweeps/s/report.html" in stdout
    assert not processes_of(tmp_path)
    (line,) = (line for line in stderr.splitlines() if line.startswith("to resume: "))
    before = contents(tmp_path / SWEEP / "seed=0")
    command = line.removeprefix("to resume: ")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert list(statuses(tmp_path).values()) == ["completed"] * 3
    assert contents(tmp_path / SWEEP / "seed=0") == before


@pytest.mark.stress
@pytest.mark.parametrize("seconds", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
def test_a_signal_before_the_first_job_counts(tmp_path: Path, seconds: float) -> None:
    """While the program starts, composes, or starts the job."""
    process = start(tmp_path, "seed=0,1,2", "+nap=5")
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (143, -signal.SIGTERM)  # the latter before Python has our handler
    assert "Traceback" not in stderr
    assert is_gone(tmp_path)


def test_a_job_that_ends_badly_after_its_end_is_reported(tmp_path: Path) -> None:
    """Its record is complete, and stays so."""
    done = sweep(tmp_path, "+fault=late")
    assert statuses(tmp_path) == {"0": "completed"}
    assert "warning: 0: complete, but then ended with exit code 7" in done.stdout


@pytest.mark.stress
def test_an_output_without_end_is_kept_in_part(tmp_path: Path) -> None:
    """A line of megabytes, or a bar drawn over and over, fills neither memory nor record."""
    sweep(tmp_path, "+fault=none,babble", exit_code=1)
    record = records(tmp_path)["+fault=babble"]
    assert record.cause == "ValueError: it broke"
    assert len((record.error or {})["log_end"]) < 100_000


@pytest.mark.skipif(os.name == "nt", reason="as a Unix shell closes it")
@pytest.mark.parametrize("closed", ["pipe", stress("stdout")])
def test_nobody_need_listen(tmp_path: Path, closed: str) -> None:
    """Without a standard output, or with a pipe that nobody reads, all is done nevertheless."""
    command = shlex.join([sys.executable, PROGRAM, "-m", *QUICK, "+fault=none,exception"])
    command += " >&-" if closed == "stdout" else " | head -1"
    bash = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(bash, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "failed: 1 job: +fault=exception"
    assert (tmp_path / SWEEP / "report.html").exists()


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Also where the job does not listen; nothing of it stays."""
    process = start(tmp_path, "seed=0", "+fault=hang")
    log = tmp_path / SWEEP / "0" / "output.log"
    process.wait_for(lambda: log.exists() and "deaf" in log.read_text())
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert is_gone(tmp_path)


def test_jobs_end_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    """The same sweep again finishes what was left, and nothing else."""
    process = start(tmp_path, "seed=0,1", "+nap=0.3")
    process.wait_for(lambda: len(records(tmp_path)) == 2)
    process.kill()
    process.wait()
    assert is_gone(tmp_path)
    finished = contents(tmp_path / SWEEP / "seed=0")
    done = sweep(tmp_path, "seed=0,1", "+nap=0.3")
    assert "2 jobs, 1 of them complete" in done.stdout
    assert set(statuses(tmp_path).values()) == {"completed"}
    assert contents(tmp_path / SWEEP / "seed=0") == finished


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are Unix's")
def test_on_a_terminal_a_job_has_one_too(tmp_path: Path) -> None:
    """Of the same size; its output is shown as it comes, and kept line by line."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "import os, hpml.train\n"
        "from helpers import light_program\n"
        "def fit(*arguments):\n"
        "    print('draws', end='\\r', flush=True)\n"
        "    print('\\x1b[1m', os.get_terminal_size(1).columns, 'wide', flush=True)\n"
        "    light_program.fit(*arguments)\n"
        "def job(cfg):\n"
        "    return hpml.train.job(cfg, fit)\n"
        "light_program.run_hydra(job, 'train')\n"
    )
    words = ["-m", "seed=0", "sweep.name=s", "trainer.max_epochs=1"]
    output = run_on_terminal([str(program), *words], tmp_path, 97, TERM="xterm")
    assert "draws\r" in output
    log = (tmp_path / SWEEP / "0" / "output.log").read_text()
    assert " 97 wide\n" in log
    assert "draws" not in log
    assert "\x1b" not in log


@pytest.mark.stress
def test_a_report_that_finds_no_room_is_missed(tmp_path: Path) -> None:
    """Here a file may have 8 KiB, and the page has more: the jobs complete nevertheless."""
    words = [PROGRAM, "-m", *QUICK, "seed=0,1"]
    done = run_program(words, tmp_path, limits={"RLIMIT_FSIZE": 8192})
    assert re.fullmatch(r"no report: OSError: .*File too large\n", done.stderr)
    assert set(statuses(tmp_path).values()) == {"completed"}
