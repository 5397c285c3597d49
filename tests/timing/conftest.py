"""Clocks that only a test moves, and a timer that prints nothing."""

import pytest
from helpers.delays import VirtualClock, silent

from hpml.callbacks import EpochTimer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return VirtualClock().install(monkeypatch)


@pytest.fixture
def timer() -> EpochTimer:
    return silent()
