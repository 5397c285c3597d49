"""Waiting for a quiet machine, on a virtual clock and with a virtual machine."""

import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.configurations import TESTS
from helpers.programs import Program, run_program
from helpers.sweeps import QUICK, make_job, records

from hpml.sweep.cost_model import CostModel
from hpml.sweep.quiet_machine import QuietMachine
from hpml.sweep.reruns import OnDisturbance
from hpml.sweep.runner import HowToRun, Runner
from hpml.system.between_readings import Reading
from hpml.system.kernel_readings import Witness
from hpml.system.other_programs import OtherPrograms

POLL_S = 0.25
Use = Callable[[float], "tuple[float, int] | None"]


def waited(use: Use, max_wait_s: float = 600.0, jobs: int = 1) -> list[dict[str, object]]:
    """What each job has waited for on a machine of which others use so much at a time."""
    now_s = 0.0
    machine = QuietMachine(max_wait_s, others=lambda: use(now_s), clock=lambda: now_s)
    started: list[dict[str, object]] = []
    while len(started) < jobs:
        answer = machine.may_start()
        started += [] if answer is None else [answer]
        now_s += POLL_S
    return started


def test_on_a_quiet_machine_a_job_waits_for_one_look(caplog: pytest.LogCaptureFixture) -> None:
    """Less than a quarter of the cores is quiet, and nothing is said of it."""
    assert waited(lambda _: (0.49, 2)) == [{"waited_s": 0.0, "was_quiet": True}]
    assert not caplog.messages


def test_a_job_waits_until_others_are_done(caplog: pytest.LogCaptureFixture) -> None:
    """What it waits for is said once, and so is how long it did; the next job looks anew."""
    caplog.set_level(logging.INFO)
    both = waited(lambda at_s: (1.5 if at_s < 60 else 0.1, 2), jobs=2)
    assert both == [{"waited_s": 59.5, "was_quiet": True}, {"waited_s": 0.0, "was_quiet": True}]
    assert caplog.messages == [
        "\nother programs use 1.5 of 2 cores: waiting until they do not, about 10 min at most",
        "waited 60 s for a quiet machine",
    ]


def test_a_job_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """After the limit it starts all the same, which is said and recorded; each job may wait so."""
    each = {"waited_s": 30.0, "was_quiet": False}
    assert waited(lambda _: (0.5, 2), max_wait_s=30.0, jobs=2) == [each, each]
    going_on = "other programs use 0.5 of 2 cores still, after sweep.max_wait_s=30: going on"
    assert caplog.messages[-1].endswith(going_on)


def test_where_nothing_is_known_nobody_waits() -> None:
    """The record says that it is not known."""
    assert waited(lambda _: None) == [{"waited_s": 0.0, "was_quiet": None}]


class Seen(Witness):
    """A witness that has seen the cores work for so long, and the sweep's jobs of that."""

    def __init__(self, *seen: tuple[float, float | None]) -> None:
        super().__init__()
        unknown: dict[str, Any] = dict.fromkeys(Reading.__dataclass_fields__)
        self._readings = [
            Reading(
                **unknown
                | {"at_s": 2.0 * number, "cpu_s": cpu_s}
                | {"cores": {0: (busy_s, 0.0), 1: (0.0, 0.0)}}
            )
            for number, (busy_s, cpu_s) in enumerate(seen)
        ]

    def read(self) -> Reading:
        return self._readings.pop(0)


def test_the_jobs_beside_it_are_the_sweeps_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they use is no other program's; where the system does not tell, none runs beside it."""
    others = OtherPrograms(Seen((10.0, 1.0), (14.0, 4.0), (18.0, None)))
    assert [others() for _ in range(2)] == [None, (0.5, 2)]
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 30.0)
    children = ["job"]
    monkeypatch.setattr(psutil.Process, "children", lambda _: children)
    assert others() is None
    children.clear()
    others = OtherPrograms(Seen((0.0, None), (1.0, None)))
    assert [others() for _ in range(2)] == [None, (1.2, 4)]


class Busy(QuietMachine):
    """A machine that is busy from its first job on, until that has ended."""

    def __init__(self) -> None:
        super().__init__(600.0)
        self.is_quiet: Callable[[], bool] = lambda: True

    def may_start(self) -> dict[str, Any] | None:
        return {"waited_s": 0.0} if self.is_quiet() else None


def test_who_waits_holds_up_no_other_job(tmp_path: Path) -> None:
    """A job beside it ends meanwhile, and has its record."""
    command = [sys.executable, "-c", "pass"]
    how = HowToRun(lambda _: command, lambda _: {}, [{}, {}], None, False, OnDisturbance("wait"))
    machine = Busy()
    runner = Runner(how, CostModel(), 0, quiet=machine)
    asked: list[int] = []

    def is_quiet() -> bool:
        asked.append(len(runner.records))
        return len(asked) == 1 or bool(runner.records)

    machine.is_quiet = is_quiet
    runner.run([make_job({}, name=name, directory=tmp_path / name) for name in "ab"])
    assert [job.name for job in runner.records] == ["a", "b"]
    assert asked[:2] == [0, 0]


PROGRAM = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from helpers.light_program import job, run_hydra
from hpml.system.other_programs import OtherPrograms
def used(self):
    Path("looked").touch()
    return 0.0 if Path("quiet").exists() else 2.0, 2
OtherPrograms.__call__ = used
run_hydra(job, "train")
"""


def test_a_sweep_waits_and_can_be_interrupted_meanwhile(tmp_path: Path) -> None:
    """Its end comes at once, nothing was started; the same command goes on when it is quiet."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    words = [str(program), "-m", *QUICK, "seed=0,1", "sweep.on_disturbance=wait"]
    process = Program(words, tmp_path)
    process.wait_for((tmp_path / "looked").exists)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=10)
    assert "job 1" not in stdout
    assert process.returncode == 130
    assert "to resume: " in stderr
    assert not records(tmp_path)
    (tmp_path / "quiet").touch()
    run_program(words, tmp_path)
    quiet = {"policy": "wait", "waited_s": 0.0, "was_quiet": True}
    assert [record.disturbance for record in records(tmp_path).values()] == [quiet, quiet]


def test_an_end_to_waiting_is_in_the_records(tmp_path: Path) -> None:
    """On a machine that stays busy all jobs run nevertheless."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    wait = ("sweep.on_disturbance=wait", "sweep.max_wait_s=0.1")
    done = run_program([str(program), "-m", *QUICK, "seed=0", *wait], tmp_path)
    assert "2.0 of 2 cores still, after sweep.max_wait_s=0.1: going on" in done.stdout
    (record,) = records(tmp_path).values()
    assert record.status == "completed"
    assert (record.disturbance or {})["was_quiet"] is False
