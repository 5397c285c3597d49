"""The lab's program, for all tests of it."""

import functools
from pathlib import Path

import pytest
from helpers.lab_parts import Parts

from hpml.lab import __main__ as lab
from hpml.system import fresh_process

composed = functools.cache(lab._composed)  # which takes most of a start's time


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    made = Parts(tmp_path / "outputs" / "labs" / "l", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPML_OUTPUTS", raising=False)
    monkeypatch.setattr(fresh_process, "run_in_fresh_process", made.call)
    monkeypatch.setattr(lab, "run_task", made.run)
    monkeypatch.setattr(lab, "_composed", lambda overrides: composed(tuple(overrides)))
    monkeypatch.setattr(lab, "measured_start_s", lambda: 1.0)
    monkeypatch.setattr(lab, "warn_of_others", lambda: None)
    monkeypatch.setattr(lab, "monotonic", lambda: made.clock)
    monkeypatch.setattr("hpml.lab.report.results_by_part.draw_for", lambda *arguments: [])
    monkeypatch.setattr("hpml.lab.report.results_by_part.draw_workers", lambda *arguments: {})
    return made
