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
from helpers.configurations import TESTS
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


def check(folder: Path, done: subprocess.CompletedProcess[str], kinds: list[str]) -> None:
    """Whether each kind of death among five or more jobs is told everywhere."""
    found = records(folder)
    failed = []
    for name, record in found.items():
        kind = record.config.get("fault", name)
        kind = record.config.get("planted", {"fault": kind})["fault"]
        status, cause, said = CAUSES.get(kind, ("completed", "", ""))
        assert record.status == status
        assert record.cause.startswith(cause) if kind == "memory" else record.cause == cause
        if status == "failed":
            failed.append(name)
            assert said in (record.error or {})["log_end"]
            assert f"epoch 0 of {name}" in (record.error or {})["log_end"]
            assert f"failed: {name}: {cause}" in done.stderr
            assert len(record.epochs) == 1
        else:
            assert len(record.epochs) == 2
    assert len(failed) == len(set(kinds) - {"daemon"})
    page = (folder / SWEEP / "report.html").read_text()
    for name in failed:
        assert f"<strong>{name}</strong>: failed" in page
    if failed:
        *_, last = done.stderr.splitlines()
        assert last.startswith(f"failed: {len(failed)} job")
        assert all(name in last for name in failed)
    assert done.returncode == (1 if failed else 0)
    assert not processes_of(folder)


def test_each_kind_of_death_is_survived(tmp_path: Path) -> None:
    """All kinds in one sweep; a process that a job leaves behind is ended too."""
    kinds = ["none", *CAUSES]
    done = sweep(tmp_path, f"+fault={','.join(kinds)}", "sweep.timeout_s=4")
    assert len(records(tmp_path)) == len(kinds)
    check(tmp_path, done, list(CAUSES))


@pytest.mark.stress
@pytest.mark.parametrize("kind", CAUSES)
def test_one_death_in_the_middle_of_five(tmp_path: Path, kind: str) -> None:
    """The two before and the two after it complete."""
    faults = ["none"] * 5
    faults[2] = kind
    jobs = ",".join(f"{{fault: {fault}, at: {place}}}" for place, fault in enumerate(faults))
    done = sweep(tmp_path, f"+planted={jobs}", "sweep.timeout_s=4")
    assert len(records(tmp_path)) == 5
    check(tmp_path, done, [kind])


def test_the_first_failure_may_end_the_sweep(tmp_path: Path) -> None:
    """With `sweep.fail_fast=true`; the report is made nevertheless."""
    done = sweep(tmp_path, "+fault=none,exception,daemon", "sweep.fail_fast=true")
    assert done.returncode == 1
    assert statuses(tmp_path) == {"+fault=none": "completed", "+fault=exception": "failed"}
    assert "1 job not started" in done.stderr
    assert "failed: 1 job: " in done.stderr
    assert (tmp_path / SWEEP / "report.html").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=[pytest.mark.stress]),
    ],
)
def test_a_signal_ends_the_sweep_in_order(tmp_path: Path, number: int, code: int) -> None:
    """The running job is recorded as interrupted, no other starts, the report is made, and the
    command that is printed resumes there.
    """
    process = start(tmp_path, "seed=0,1,2", "+nap=0.3")
    process.wait_for(lambda: len(records(tmp_path)) == 2 and records(tmp_path)["seed=1"].epochs)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert statuses(tmp_path) == {"seed=0": "completed", "seed=1": "interrupted"}
    assert "report: outputs/sweeps/s/report.html" in stdout
    assert not processes_of(tmp_path)
    (line,) = (line for line in stderr.splitlines() if line.startswith("to resume: "))
    if number == signal.SIGINT:
        before = contents(tmp_path / SWEEP / "seed=0")
        command = line.removeprefix("to resume: ")
        again = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert set(statuses(tmp_path).values()) == {"completed"}
        assert len(records(tmp_path)) == 3
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


def test_a_job_that_ends_badly_after_its_end_is_told(tmp_path: Path) -> None:
    """Its record is complete, and stays so."""
    done = sweep(tmp_path, "+fault=none,late")
    assert done.returncode == 0
    assert set(statuses(tmp_path).values()) == {"completed"}
    told = "warning: +fault=late: complete, but then ended with exit code 7"
    assert told in done.stdout


@pytest.mark.stress
def test_an_output_without_end_is_kept_in_part(tmp_path: Path) -> None:
    """A line of megabytes, or a bar drawn over and over, fills neither memory nor record."""
    done = sweep(tmp_path, "+fault=none,babble")
    assert done.returncode == 1
    record = records(tmp_path)["+fault=babble"]
    assert record.cause == "ValueError: it broke"
    assert len((record.error or {})["log_end"]) < 100_000


@pytest.mark.skipif(os.name == "nt", reason="as a Unix shell closes it")
@pytest.mark.parametrize("closed", ["pipe", pytest.param("stdout", marks=[pytest.mark.stress])])
def test_nobody_need_listen(tmp_path: Path, closed: str) -> None:
    """Without a standard output, or with a pipe that nobody reads, all is done nevertheless."""
    command = shlex.join([sys.executable, PROGRAM, "-m", *QUICK, "+fault=none,exception"])
    command += " >&-" if closed == "stdout" else " | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "failed: 1 job: +fault=exception"
    assert (tmp_path / SWEEP / "report.html").exists()


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Also where the job does not listen; nothing of it stays."""
    process = start(tmp_path, "seed=0,1", "+fault=hang")
    log = tmp_path / SWEEP / "seed=0" / "output.log"
    process.wait_for(lambda: log.exists() and "deaf" in log.read_text())
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert is_gone(tmp_path)


def test_jobs_end_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    """The same sweep again finishes what was left, and nothing else."""
    process = start(tmp_path, "seed=0,1,2", "+nap=0.3")
    process.wait_for(lambda: len(records(tmp_path)) == 2)
    process.kill()
    process.wait()
    assert is_gone(tmp_path)
    finished = contents(tmp_path / SWEEP / "seed=0")
    done = sweep(tmp_path, "seed=0,1,2", "+nap=0.3")
    assert done.returncode == 0, done.stderr
    assert "3 jobs, 1 of them complete" in done.stdout
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
    exit_code, output = run_on_terminal([str(program), *words], tmp_path, 97, TERM="xterm")
    assert exit_code == 0, output
    assert "draws\r" in output
    log = (tmp_path / SWEEP / "0" / "output.log").read_text()
    assert " 97 wide\n" in log
    assert "draws" not in log
    assert "\x1b" not in log


@pytest.mark.stress
def test_a_report_that_finds_no_room_is_told(tmp_path: Path) -> None:
    """Here a file may have 8 KiB, which the page has not: the jobs complete nevertheless."""
    words = [PROGRAM, "-m", *QUICK, "seed=0,1"]
    done = run_program(words, tmp_path, limits={"RLIMIT_FSIZE": 8192})
    assert done.returncode == 0
    assert re.fullmatch(r"no report: OSError: .*File too large\n", done.stderr)
    assert set(statuses(tmp_path).values()) == {"completed"}
