"""Ranks that are left alone in an exchange: they wait so long, and end with one line."""

import threading
from typing import Any

import pytest
import torch
from helpers.ranks import Threads

from hpml.trials import agreement as agreeing
from hpml.trials.agreement import RanksAgreement


class Alone(Threads):
    """A rank whose other one never comes; `waits` has how long it would have waited each time.

    With `is_there` the other one does something else; without, its process has ended.
    """

    is_there = True
    patch: pytest.MonkeyPatch

    def __init__(self, rank: int = 1) -> None:
        super().__init__(rank, 2, [None] * 2, threading.Barrier(2))
        self.waits: list[float | None] = []
        self._group, self.now_s = None, 0.0
        self.patch.setattr(agreeing.time, "monotonic", lambda: self.now_s)

    _arrive = RanksAgreement._arrive
    _gathered: Any = RanksAgreement._gathered

    def _wait_for_all(self, seconds: float | None = None) -> None:
        self.waits.append(seconds)
        self.now_s += (seconds or 0.0) * self.is_there
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")


def fails() -> None:
    raise OSError("no space")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alone, "patch", monkeypatch, raising=False)


@pytest.mark.parametrize("is_there", [True, False])
def test_an_error_that_comes_of_the_others_end_is_not_told(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one of its own is, for which they wait."""

    def fails_in_an_exchange() -> None:
        raise RuntimeError("Connection closed")

    monkeypatch.setattr(Alone, "is_there", is_there)
    with pytest.raises(SystemExit) as ended:
        Alone().tried(fails_in_an_exchange)
    said = {
        True: "RuntimeError: Connection closed, on rank 1 on node1 alone: the others wait for it",
        False: "another process has ended, or does not answer; so ends rank 1 on node1",
    }
    assert ended.value.code == f"failed: {said[is_there]}"


def test_a_rank_that_has_failed_alone_waits_and_says_why() -> None:
    """Once: at its end it waits no second time."""
    alone = Alone()
    with pytest.raises(SystemExit) as ended:
        alone.tried(fails)
    said = "failed: OSError: no space, on rank 1 on node1 alone: the others wait for it"
    assert ended.value.code == said
    alone.part()
    assert alone.waits == [agreeing.LOST_S]


def test_a_rank_that_was_interrupted_waits_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """And then is interrupted by itself, though what it did has failed by it."""
    alone = Alone()
    monkeypatch.setattr(Alone, "_has_come", True)
    with pytest.raises(KeyboardInterrupt), alone.interruptible():
        alone.tried(fails)
    assert alone.waits == [agreeing.INTERRUPTED_S]


def test_a_rank_whose_others_are_gone_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it waits for them; it exchanges no more."""

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_gather_object", gone)
    said = "failed: another process has ended, or does not answer; so ends rank 0 on node0"
    for exchange in (lambda own: own.tried(list), lambda own: own.first(1)):
        alone = Alone(0)
        with pytest.raises(SystemExit) as ended, alone.interruptible():
            exchange(alone)
        assert ended.value.code == said
        waited = list(alone.waits)
        alone.part()
        assert alone.waits == waited


def test_who_has_ended_well_waits_for_the_others_and_passes_over_their_failure() -> None:
    """For a while: the first process to end may end all."""
    alone = Alone()
    alone.part()
    assert alone.waits == [agreeing.LOST_S]
