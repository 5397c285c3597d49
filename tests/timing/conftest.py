"""Clocks that only a test moves."""

import pytest
from helpers.delays import VirtualClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return VirtualClock().install(monkeypatch)
