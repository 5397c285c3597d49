"""Ranks that have failed: who waits for one in vain says so, and it ends."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch

from hpml.trials import failed_ranks
from hpml.trials.failed_ranks import FailedRanks, Failure, MissedError

FAILED, WAITING, COMING = [3, 5], [4, 5], [3, 5]  # exchanges begun, in two groups


class Work:
    """An exchange of torch's that is not over, and may come to be."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self._meanwhile = list(meanwhile)
        self.error: str | None = None
        self._is_over = not meanwhile

    def wait(self, timeout: timedelta | None = None) -> None:
        if self._meanwhile:
            self._meanwhile.pop(0)()
            raise RuntimeError("Operation timed out!")
        self._is_over = True
        if self.error is not None:
            raise RuntimeError(self.error)

    def is_completed(self) -> bool:
        return self._is_over


class Late(Work):
    """It ends just after the time in which it was waited for."""

    def is_completed(self) -> bool:
        return not self._meanwhile


def two(begun: list[int]) -> tuple[FailedRanks, FailedRanks]:
    """The first one has begun FAILED, the second one so many."""
    store = torch.distributed.HashStore()
    return FailedRanks(0, store, lambda: FAILED), FailedRanks(1, store, lambda: begun)


@pytest.mark.parametrize(("begun", "waits"), [(WAITING, True), (COMING, False)])
def test_who_has_begun_an_exchange_more_waits_in_vain(begun: list[int], waits: bool) -> None:
    """One that has not may still come; both learn who has failed, and why."""
    failed, other = two(begun)
    assert not other.look()
    failed.tell("OSError: no space")
    assert other.look() is waits
    assert other.first == Failure(0, "OSError: no space", FAILED)
    assert not failed.look()
    assert failed.first is None


def test_of_several_that_failed_each_is_looked_at() -> None:
    """The first one to tell has begun all that this one has; the second one has not."""
    store = torch.distributed.HashStore()
    counts: Any = {0: [4], 1: [3], 2: [4]}
    first, second, other = (FailedRanks(n, store, lambda n=n: counts[n]) for n in counts)
    first.tell("one")
    assert not other.look()
    second.tell("another")
    assert other.look()
    assert other.first == Failure(0, "one", [4])


def test_a_failed_rank_leaves_once_it_is_waited_for_in_vain() -> None:
    """It tells where the others do not come at once, by what it had begun before it waited."""
    failed, other = two(WAITING)
    with pytest.raises(MissedError):
        failed.meet(lambda: Work(lambda: None, other.look), why="OSError: no space")
    assert other.first == Failure(0, "OSError: no space", FAILED)


def test_what_was_told_is_over_once_all_have_met() -> None:
    """What a rank drops, all drop; exchanges begun later are waited for by nobody."""
    failed, other = two(WAITING)
    failed.meet(lambda: Work(lambda: None), why="OSError: no space")
    other.meet(Work)
    assert not other.look()
    assert other.first is None


def test_a_rank_that_waits_for_all_waits_for_none_in_vain() -> None:
    """Though it has begun the exchange in which they meet."""
    failed, other = two(WAITING)
    failed.tell("OSError: no space")
    looked: list[bool] = []
    other.meet(lambda: Work(lambda: looked.append(other.look())))
    assert looked == [False]


def test_a_meeting_ends_by_time_and_by_an_error() -> None:
    """Others do not come, or have ended; nothing is told of an exchange that fails at once."""
    failed, other = two(COMING)
    with pytest.raises(RuntimeError, match="do not come"):
        failed.meet(lambda: Work(lambda: None, lambda: None), seconds=-1.0)
    gone = Work()
    gone.error = "Connection closed by peer"
    with pytest.raises(RuntimeError, match="closed by peer"):
        failed.meet(lambda: gone, why="RuntimeError: Connection closed by peer")
    assert not other.look()
    assert other.first is None


def test_an_exchange_that_ends_just_after_its_time_is_no_failure() -> None:
    """Unless it ends by one."""
    failed, _ = two(COMING)
    failed.meet(lambda: Late(lambda: None))
    gone = Late(lambda: None)
    gone.error = "Connection closed by peer"
    with pytest.raises(RuntimeError, match="closed by peer"):
        failed.meet(lambda: gone)


def test_a_wait_that_nothing_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the thread that looks, which ends with the agreement."""
    monkeypatch.setattr(failed_ranks, "LOOK_S", 0.001)
    monkeypatch.setattr(failed_ranks, "ENDS_S", 0.001)
    failed, other = two(WAITING)
    given_up = threading.Event()
    other.begin(given_up.set)
    failed.tell("OSError: no space")
    assert given_up.wait(60)
    other.close()
    assert other._thread is not None
    other._thread.join(60)
    assert not other._thread.is_alive()
