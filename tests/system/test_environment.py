"""What the system tells of this process."""

import subprocess
import sys

import pytest
from helpers.configurations import ROOT

HELD_MIB = 300
HOLDING = f"held = bytearray({HELD_MIB} * 2**20); held[::4096] = b'1' * len(held[::4096])"
ASKING = "from hpml.system.environment import resident_peak_mib; print(resident_peak_mib())"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another system's count is right")
def test_a_processs_peak_is_not_its_parents() -> None:
    """getrusage's begins with what the parent held when it started the process; this does not."""
    started = (
        f"import subprocess, sys; {HOLDING}; subprocess.run([sys.executable, '-c', {ASKING!r}])"
    )
    for code, least, most in ((started, 1, HELD_MIB), (f"{HOLDING}; {ASKING}", HELD_MIB, 900)):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert least < float(done.stdout) < most
