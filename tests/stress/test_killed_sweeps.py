"""A sweep killed at any moment, and started again with the same name, ends as if it never was."""

import random
import signal
import time
from pathlib import Path

import pytest
from helpers.sweeps import SWEEP, contents, is_gone, records, start, sweep

pytestmark = pytest.mark.stress

JOBS = ("optimizer=sgd,adam", "seed=0,1,2", "+nap=0.2")


@pytest.mark.parametrize("number", range(10))
def test_a_sweep_killed_at_a_random_moment_loses_nothing(tmp_path: Path, number: int) -> None:
    """Finished jobs are untouched, the rest completes, no record is partial or doubled."""
    generator = random.Random(number)
    kills = 0
    finished: dict[str, tuple[int, bytes]] = {}
    for _ in range(3):
        process = start(tmp_path, *JOBS)
        time.sleep(generator.uniform(0.3, 7.0))
        if process.poll() is None:
            kills += 1
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert is_gone(tmp_path)
        for name, record in records(tmp_path).items():  # which reads each: none is partial
            if record.status == "completed":
                now = contents(tmp_path / SWEEP / name)
                assert all(now[file] == before for file, before in finished.items() if file in now)
                finished |= now
    done = sweep(tmp_path, *JOBS)
    assert done.returncode == 0, done.stderr
    assert kills > 0
    found = records(tmp_path)
    assert len(found) == 6
    assert {record.status for record in found.values()} == {"completed"}
    assert len({record.fingerprint for record in found.values()}) == 6
    assert all(len(record.epochs) == 2 for record in found.values())
    everything = contents(tmp_path)
    assert all(everything[file] == before for file, before in finished.items())
    assert not [name for name in everything if "record.json." in name]
