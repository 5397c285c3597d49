"""A job that was warned of its end goes back into the queue, where it is its own to put back."""

import os
from pathlib import Path

import pytest

from hpml.system.slurm_requeue import requeue


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that notes what it is given."""
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/given\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("HPML_JOB", "SUBMITIT_EXECUTOR", "RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "given").touch()
    return tmp_path / "given"


@pytest.mark.parametrize(
    ("variables", "requeued"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "9"}, True),
        ({"SLURM_JOB_ID": "9", "HPML_JOB": "a"}, False),
        ({"SLURM_JOB_ID": "9", "SUBMITIT_EXECUTOR": "slurm"}, False),
        ({"SLURM_JOB_ID": "9", "SLURM_PROCID": "1"}, False),
    ],
)
def test_who_puts_a_job_back_into_the_queue(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], requeued: bool
) -> None:
    """The first process of a job that no launcher has started."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    requeue()
    assert scontrol.read_text() == ("requeue 9\n" if requeued else "")
