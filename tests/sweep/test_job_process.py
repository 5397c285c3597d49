"""What a job's process prints, and what of it is shown."""

import sys
from pathlib import Path

import pytest

from hpml.sweep.job_process import JobProcess


@pytest.mark.parametrize(("exit_code", "shown"), [(2, ["error: of a part", "goes on"]), (1, None)])
def test_an_error_that_is_raised_is_not_shown_too(
    exit_code: int, shown: list[str] | None, tmp_path: Path, capfdbinary: pytest.CaptureFixture
) -> None:
    """Only the last line, and only where the exit code says wrong input; all that it knows else."""
    lines = ["error: of a part", "goes on", "error: x=1: is too small"]
    program = f"print({chr(10).join(lines)!r}, flush=True); raise SystemExit({exit_code})"
    command = [sys.executable, "-c", program]
    process = JobProcess(command, tmp_path, True, {}, raises=True)
    try:
        assert process.wait() == exit_code
    finally:
        process.clear()
    assert capfdbinary.readouterr().out.decode().splitlines() == (shown or lines)
    assert process.last_line == "x=1: is too small"
