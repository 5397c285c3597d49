"""The live windows that a record keeps."""

from pathlib import Path
from typing import Any

import pytest
from helpers.delays import Delays, VirtualClock, fit

from hpml.callbacks import phase_timers
from hpml.records.phases import PHASES
from hpml.records.run_record import RunRecord
from hpml.timing.live_windows import COLUMNS, MOST_ROWS, Windows


def window(number: int, samples: float | None = 8) -> dict[str, Any]:
    return dict.fromkeys((phase.key for phase in PHASES), number / 8) | {
        "steps": 2,
        "samples": samples,
        "wall_s": 1.0,
    }


@pytest.mark.parametrize("count", [1, MOST_ROWS, MOST_ROWS + 1, 5 * MOST_ROWS + 7])
def test_however_many_there_are_their_sums_are_kept(count: int) -> None:
    """In rows of as many windows each as there is room for, the last one apart."""
    windows = Windows()
    for number in range(count):
        windows.add(window(number))
    columns = windows.columns
    assert columns.keys() == set(COLUMNS)
    assert {len(column) for column in columns.values()} == {len(columns["steps"])}
    assert MOST_ROWS / 2 <= len(columns["steps"]) <= MOST_ROWS or count < MOST_ROWS
    assert sum(columns["steps"]) == 2 * count
    assert sum(columns["data_s"]) == sum(number / 8 for number in range(count))
    assert len({*columns["steps"][:-1]}) <= 1


def test_what_one_window_does_not_know_its_row_does_not() -> None:
    """Batches that hold no tensor have no number of samples."""
    windows = Windows()
    for number in range(2 * MOST_ROWS):
        windows.add(window(number, None if number == 1 else 8))
    assert windows.columns["samples"][:2] == [None, 16]


def test_none_is_told_where_there_is_none() -> None:
    """And a process that resumes goes on with those of the one before."""
    windows, again = Windows(), Windows()
    assert windows.columns is None
    windows.add(window(1))
    again.resume(None)
    again.resume(windows.columns)
    again.add(window(2))
    assert again.columns["data_s"] == [0.125, 0.25]


def test_a_record_has_them(tmp_path: Path, clock: VirtualClock) -> None:
    """Each phase's seconds of every so many steps, after the first batch of all."""
    delays = Delays(("dataset", "forward"), clock.spend)
    timers = phase_timers(record=tmp_path / "record", every_n_steps=3)
    fit(tmp_path, *timers, delays=delays)
    windows = RunRecord.read(tmp_path / "record").windows
    assert (windows["steps"], windows["samples"]) == ([3, 3], [6, 6])  # of eight, one is the first
    a_step = {"data_s": 2 * delays.ns["dataset"], "train_s": delays.ns["forward"]}
    for key, ns in a_step.items():
        assert windows[key] == pytest.approx([3 * ns / 1e9] * 2, abs=1e-6)
